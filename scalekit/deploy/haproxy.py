"""Render ``haproxy.cfg``: HAProxy in front of the instances of a service.

Every value is restricted by its check or percent-encoded, so no value can add a directive.
https://docs.haproxy.org/2.6/configuration.html
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.proxy_options import PROXY_OPTIONS, describe_proxy
from scalekit.deploy.reverse_proxy import (
    CHECK_TIMEOUT,
    CONNECT_TIMEOUT,
    MAX_TRIES,
    TRIES_TIMEOUT,
    ProxiedInstance,
    ReverseProxy,
    duration,
    idle_time,
)
from scalekit.deploy.service import ServiceDescription

REWRITE_SPACE = 2048
"""Bytes of the buffer that HAProxy reserves for headers that it adds (``tune.maxrewrite``)."""
BUFFER_SIZES = (16384, 1 << 20)
"""Bytes of a buffer (``tune.bufsize``), which holds a whole request head: HAProxy's default, and the most here."""


def generate_haproxy(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return ``haproxy.cfg`` of the proxy in front of *service*."""
    proxy = describe_proxy(service, options)
    sections = (
        ("global", _global(proxy)),
        ("defaults", _defaults(proxy)),
        (f"frontend {proxy.name}", _frontend(proxy)),
        (f"backend {proxy.name}", _backend(proxy)),
    )
    texts = ["\n".join((title, *(f"    {line}" for line in lines))) for title, lines in sections]
    header = generated_header(service) + "".join(f"{line}\n" for line in proxy.notes)
    return {"haproxy.cfg": "\n\n".join((header.rstrip(), *texts)) + "\n"}


def _global(proxy: ReverseProxy) -> Iterator[str]:
    smallest, largest = BUFFER_SIZES
    yield "log stdout format raw daemon info"
    yield "# A buffer holds a whole request head, so that `max_header` of the service is the limit."
    yield f"tune.bufsize {min(largest, max(smallest, int(proxy.server.max_header) + 2 * REWRITE_SPACE))}"
    yield f"tune.maxrewrite {REWRITE_SPACE}"
    yield "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets"
    yield "# After a reload the old process ends its connections by then, websockets included."
    yield "hard-stop-after 15m"


def _defaults(proxy: ReverseProxy) -> Iterator[str]:
    server = proxy.server
    yield "mode http"
    yield "log global"
    yield "option httplog"
    yield "option dontlognull"
    yield f"timeout http-request {duration(server.header_timeout)}"
    yield f"timeout http-keep-alive {duration(server.keep_alive_timeout)}"
    yield f"timeout client {duration(max(proxy.read_timeout, server.body_timeout, server.write_timeout))}"
    yield "timeout client-fin 5s"
    yield f"timeout connect {duration(CONNECT_TIMEOUT)}"
    yield f"timeout server {duration(proxy.read_timeout)}"
    yield f"timeout queue {duration(TRIES_TIMEOUT)}"
    yield f"timeout check {duration(CHECK_TIMEOUT)}"
    yield "# Websockets; the service sends a ping every 20 seconds."
    yield "timeout tunnel 1h"


def _frontend(proxy: ReverseProxy) -> Iterator[str]:
    if proxy.tls is None:
        yield f"bind {proxy.listen}"
        yield "# HTTPS and HTTP/2: a file with the certificate chain, and its private key beside it in FILE.key."
        yield "# bind :443 ssl crt /etc/haproxy/certificate.pem alpn h2,http/1.1"
    else:
        file = proxy.tls.cert_file
        yield f"# HAProxy reads the private key from {file}.key: make it a link to {proxy.tls.key_file}."
        yield f"bind {proxy.listen} ssl crt {file} alpn h2,http/1.1"
    yield "# The request id of the service, in the access log."
    yield "capture response header X-Request-ID len 128"
    yield "# Field names with other characters than letters, digits and `-` are removed."
    yield "option http-restrict-req-hdr-names delete"
    yield from _rejections(proxy)
    yield from _forwarded(proxy)
    yield "# Websockets are the only upgrade that the service supports."
    yield "acl is_websocket req.hdr(Upgrade) -i websocket"
    for header in ("Upgrade", "Connection", "HTTP2-Settings"):
        yield f"http-request del-header {header} unless is_websocket"
    yield f"default_backend {proxy.name}"


def _rejections(proxy: ReverseProxy) -> Iterator[str]:
    if proxy.server_names:
        for each in proxy.server_names:
            match, text = ("end", each[1:]) if each.startswith("*.") else ("str", each)
            yield f"acl is_served req.hdr(host),field(1,:),lower -m {match} {text.lower()}"
        yield "http-request deny deny_status 421 unless is_served"
    prefix = proxy.server.root_path
    if prefix:
        yield f"acl is_below path {prefix}"
        yield f"acl is_below path_beg {prefix}/"
        yield "http-request deny deny_status 404 unless is_below"
        yield f"http-request set-path %[path,regsub(^{re.escape(prefix)}/?,/)]"
    if not proxy.exposes_operators:
        yield "# The pages of operators, however the path is written."
        yield "acl is_operators path,url_dec -m reg ^/+-(/|$)"
        for path in proxy.hidden_paths:
            yield f"acl is_operators path,url_dec -m str {shlex.quote(path)}"
        yield "http-request deny deny_status 404 if is_operators"
    yield f"http-request deny deny_status 413 if {{ req.body_size gt {proxy.max_body} }}"


def _forwarded(proxy: ReverseProxy) -> Iterator[str]:
    """Set the headers that name the client, after those that a client has forged are removed."""
    for network in proxy.networks:
        yield f"acl is_trusted src {network}"
    unless = " unless is_trusted" if proxy.networks else ""
    yield f"http-request del-header X-Forwarded- -m beg{unless}"
    yield f"http-request del-header X-Real-IP{unless}"
    if proxy.sends_forwarded:
        yield f"http-request del-header Forwarded{unless}"
        yield "acl is_ipv6 src -m sub :"
        proto = "proto=%[ssl_fc,iif(https,http)]"
        yield f'http-request add-header Forwarded "for=\\"[%[src]]\\";{proto}" if is_ipv6'
        yield f'http-request add-header Forwarded "for=%[src];{proto}" unless is_ipv6'
        return
    yield "http-request del-header Forwarded"
    yield "http-request add-header X-Forwarded-For %[src]"
    for header, value in (("Proto", "%[ssl_fc,iif(https,http)]"), ("Host", "%[req.hdr(Host)]")):
        condition = f" unless is_trusted {{ req.hdr(X-Forwarded-{header}) -m found }}" if proxy.networks else ""
        yield f"http-request set-header X-Forwarded-{header} {value}{condition}"


def _backend(proxy: ReverseProxy) -> Iterator[str]:
    yield "balance leastconn"
    yield "# A connection that fails is tried at another instance, for every method: nothing was sent."
    yield "# A request that was sent is sent again only when its method is idempotent."
    yield f"retries {MAX_TRIES - 1}"
    yield "option redispatch 1"
    yield "retry-on conn-failure empty-response"
    yield "http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }"
    if proxy.checks_health:
        yield "option httpchk"
        yield f"http-check send meth GET uri {proxy.readiness_path} ver HTTP/1.1 hdr Host localhost"
        yield "http-check expect status 200"
    else:
        yield "# `management_address` is out of reach from here: only connections are checked, not readiness."
    inter, fast = duration(proxy.check_interval), duration(proxy.check_interval / 2)
    yield "# A draining instance gets no more requests within half of its `drain_delay`."
    yield f"default-server check inter {inter} fastinter {fast} downinter {inter} fall 2 rise 1"
    yield "default-server observe layer4 error-limit 2 on-error mark-down"
    yield f"default-server pool-purge-delay {duration(idle_time(proxy.server) / 2)}"
    if proxy.server.tls is not None:
        yield "# To verify the certificate of the instances: `ssl verify required ca-file FILE`."
        yield "default-server ssl verify none"
    for number, instance in enumerate(proxy.instances, 1):
        yield f"server instance-{number} {_server_address(instance)}{_check_port(proxy, instance)}"


def _server_address(instance: ProxiedInstance) -> str:
    name = instance.socket
    if name.startswith("@"):
        return f"abns{name}"
    return f"unix@{name}" if name else instance.address


def _check_port(proxy: ReverseProxy, instance: ProxiedInstance) -> str:
    if not proxy.checks_health or instance.health_port is None:
        return ""
    return f" port {instance.health_port}{' no-check-ssl' if proxy.server.tls else ''}"


HAPROXY = DeployKind("Write haproxy.cfg: HAProxy in front of the instances.", generate_haproxy, PROXY_OPTIONS)
