"""``scalekit deploy nginx``: nginx's configuration as a file of a deployment.

It is that of ``scalekit nginx config`` with the table ``[plugins.nginx]``, or with its defaults when the file has none.
Paths stay relative, so that the file is the same on every machine. Whether nginx starts in the background is left to
its unit or image.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalekit.deploy import PROXY_OPTIONS, DeployKind, ServiceDescription, describe_proxy, generated_header
from scalekit_nginx.config import NginxConfig, NginxTls
from scalekit_nginx.template import ConfigurationFile, render
from scalekit_nginx.upstreams import static_addresses


def generate_nginx(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return ``nginx.conf`` of the proxy in front of *service*."""
    table = service.table(NginxConfig)
    options = {**options, "instances": options["instances"] or table.upstreams}
    proxy, config = describe_proxy(service, options), _with_options(table, options)
    header = [
        *generated_header(service).splitlines(),
        "# Paths are relative to the folder of this file. To start nginx there:",
        f"# mkdir -p {shlex.quote(config.directory)} && nginx -p $PWD -c $PWD/nginx.conf",
        *proxy.notes,
    ]
    file = ConfigurationFile(header, Path(), proxy.hidden_paths)
    return {"nginx.conf": render(file, service.server, config, static_addresses(service.server, config))}


def _with_options(config: NginxConfig, options: Mapping[str, Any]) -> NginxConfig:
    """Return *config* with the values of the command line, which are checked already, in place of its own."""
    changes: dict[str, Any] = {
        "listen": options["listen"],
        "server_names": options["server_names"],
        "upstreams": options["instances"],
        "operator_pages": options["operator_pages"],
        "read_timeout": options["read_timeout"],
    }
    if options["tls_cert"]:
        changes["tls"] = NginxTls(cert_file=options["tls_cert"], key_file=options["tls_key"])
    return config.model_copy(update={key: value for key, value in changes.items() if value})


NGINX = DeployKind("Write nginx.conf: nginx in front of the instances.", generate_nginx, PROXY_OPTIONS)
