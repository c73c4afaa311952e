"""The options of the kinds that generate the configuration of a reverse proxy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from scalekit.config.field_types import socket_path
from scalekit.config.types import Duration
from scalekit.deploy.reverse_proxy import (
    DEFAULT_LISTEN,
    PLAIN_PATH,
    READ_TIMEOUT,
    CertificateFiles,
    ReverseProxy,
    check_address,
    check_file,
    check_server_name,
    own_instance,
    proxied_instance,
)
from scalekit.deploy.service import ServiceDescription
from scalekit.errors import ConfigError, Problem

USED_KEYS = ("server.", "health.path")
"""Keys whose values are in the configuration of a proxy."""
UNUSED_KEYS = ("server.operator_token", "server.operator_networks", "server.allowed_hosts", "server.memory")
"""The others of them, whose values are not."""
ADDRESS_KEYS = ("server.host", "server.port")
"""Keys whose values are not needed when the instances are named."""


def check_duration(text: str) -> Duration:
    """Return the duration; raise ValueError when *text* is none or it is zero."""
    duration = Duration(text)
    if not duration:
        raise ValueError(f"must be greater than zero, got {text!r}")
    return duration


def _checked(check: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return the callback of an option that checks each of its values."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            return tuple(map(check, value)) if isinstance(value, tuple) else value and check(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


PROXY_OPTIONS = (
    click.Option(
        ["--instance", "instances"],
        metavar="HOST:PORT",
        multiple=True,
        callback=_checked(check_address),
        help="An instance of the service; repeatable. By default the address of [server].",
    ),
    click.Option(
        ["--listen"],
        metavar="HOST:PORT",
        callback=_checked(check_address),
        help=f"The address of the proxy; by default {DEFAULT_LISTEN}.",
    ),
    click.Option(
        ["--server-name", "server_names"],
        metavar="NAME",
        multiple=True,
        callback=_checked(check_server_name),
        help="A host name that the proxy serves; repeatable. By default all.",
    ),
    click.Option(
        ["--tls-cert"],
        metavar="FILE",
        callback=_checked(check_file),
        help="The certificate chain, for HTTPS.",
    ),
    click.Option(["--tls-key"], metavar="FILE", callback=_checked(check_file), help="The private key of --tls-cert."),
    click.Option(
        ["--read-timeout"],
        metavar="DURATION",
        callback=_checked(check_duration),
        help="How long an instance may send nothing, before a response and within it; by default 60s.",
    ),
    click.Option(
        ["--operator-pages"],
        is_flag=True,
        help="Pass on requests for metrics and for the pages of operators, below /-/; the instances check who is one.",
    ),
)
"""Options of every kind of reverse proxy, in the order of the help."""


def describe_proxy(service: ServiceDescription, options: Mapping[str, Any]) -> ReverseProxy:
    """Return the proxy in front of *service* with the values of PROXY_OPTIONS.

    Raises ConfigError when the file does not allow one, and click.UsageError when only one file of TLS is named.
    """
    problems = list(_problems(service, bool(options["instances"])))
    if problems:
        raise ConfigError(problems)
    server = service.server
    instances = [proxied_instance(server, address) for address in options["instances"]] or [own_instance(server)]
    return ReverseProxy(
        service.name,
        server,
        tuple(instances),
        service.health.path,
        listen=options["listen"] or DEFAULT_LISTEN,
        server_names=options["server_names"],
        tls=certificate_files(options),
        exposes_operators=options["operator_pages"],
        metrics_path=service.metrics_path,
        read_timeout=options["read_timeout"] or READ_TIMEOUT,
    )


def certificate_files(options: Mapping[str, Any]) -> CertificateFiles | None:
    """Return the files of ``--tls-cert`` and ``--tls-key``, or None; raises click.UsageError when one is missing."""
    if bool(options["tls_cert"]) != bool(options["tls_key"]):
        raise click.UsageError("--tls-cert and --tls-key belong together; add the other one")
    return CertificateFiles(options["tls_cert"], options["tls_key"]) if options["tls_cert"] else None


def _problems(service: ServiceDescription, has_instances: bool) -> Iterator[Problem]:
    """Yield why no proxy can be generated."""
    if service.server.role == "worker":
        yield Problem("an instance of this role serves no requests of clients; remove it", "server.role", service.file)
    tls = service.server.tls
    if tls is not None and tls.client_certificates == "required":
        message = "a proxy has no client certificate; ask for certificates in the proxy, and remove this key"
        yield Problem(message, "server.tls.client_certificates", service.file)
    path = "" if has_instances else socket_path(service.server.host)
    if path and not PLAIN_PATH.fullmatch(path):
        message = f'a proxy needs a socket whose path has only letters, digits and "_ . / @ + , = ~ -", not {path!r}'
        yield Problem(message, "server.host", service.file)
    ignored = (*UNUSED_KEYS, *(ADDRESS_KEYS if has_instances else ()))
    for variable in service.variables:
        used = [key for key in variable.keys if key.startswith(USED_KEYS) and not key.startswith(ignored)]
        if variable.is_required and used and variable.name not in os.environ:
            remedy = "set it as in the environment of the service"
            remedy += ", or name the instances with --instance" if used[0] in ADDRESS_KEYS else ""
            yield Problem(f"environment variable {variable.name} is not set; {remedy}", used[0], service.file)
