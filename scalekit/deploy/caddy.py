"""Render a Caddyfile: Caddy in front of the instances of a service.

Every value is restricted by its check or percent-encoded, so no value can add a directive.
https://caddyserver.com/docs/caddyfile
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scalekit.config.tables import split_address
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

HTTPS_PORT = 443
WILDCARDS = ("0.0.0.0", "::")
"""Addresses for which Caddy needs no `bind`."""
TRY_INTERVAL = 0.1
"""Seconds until a request is tried at another instance."""

Lines = Iterator[str]


def generate_caddyfile(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the Caddyfile of the proxy in front of *service*."""
    proxy = describe_proxy(service, options)
    blocks = [
        _block("", _global(proxy)),
        _block("(instances) ", _instances(proxy)),
        _block(f"{_site(proxy)} ", _bind(proxy, _application(proxy))),
    ]
    if proxy.server_names:
        blocks.append(_block(f"{_catch_all(proxy)} ", _bind(proxy, _misdirected())))
    header = generated_header(service) + "".join(f"{line}\n" for line in proxy.notes)
    return {"Caddyfile": header + "\n\n".join("\n".join(lines) for lines in blocks) + "\n"}


def _block(title: str, lines: Lines) -> Lines:
    yield f"{title}{{"
    yield from (f"\t{line}" if line else "" for line in lines)
    yield "}"


def _has_https(proxy: ReverseProxy) -> bool:
    return proxy.tls is not None or _is_automatic(proxy)


def _is_automatic(proxy: ReverseProxy) -> bool:
    """Return whether Caddy obtains the certificates of the server names itself."""
    return proxy.tls is None and split_address(proxy.listen)[1] == HTTPS_PORT and bool(proxy.server_names)


def _site(proxy: ReverseProxy) -> str:
    scheme, port = "https" if _has_https(proxy) else "http", split_address(proxy.listen)[1]
    return ", ".join(f"{scheme}://{name}:{port}" for name in proxy.server_names or ("",))


def _catch_all(proxy: ReverseProxy) -> str:
    return f"{'https' if proxy.tls else 'http'}://:{80 if _is_automatic(proxy) else split_address(proxy.listen)[1]}"


def _bind(proxy: ReverseProxy, lines: Lines) -> Lines:
    host = split_address(proxy.listen)[0]
    if host not in WILDCARDS:
        yield f"bind {host}"
    if proxy.tls is not None:
        yield f"tls {proxy.tls.cert_file} {proxy.tls.key_file}"
    yield from lines


def _global(proxy: ReverseProxy) -> Lines:
    if not _is_automatic(proxy):
        yield "# With a server name and port 443, Caddy obtains certificates itself."
        yield f"auto_https {'disable_redirects' if proxy.tls else 'off'}"
    yield f"grace_period {duration(proxy.server.graceful_timeout)}"
    yield from _block("servers ", _server(proxy))


def _server(proxy: ReverseProxy) -> Lines:
    yield f"max_header_size {int(proxy.server.max_header)}"
    yield "# Bodies and responses have no timeout here: the service limits slow clients itself."
    yield from _block("timeouts ", _timeouts(proxy))


def _timeouts(proxy: ReverseProxy) -> Lines:
    yield f"read_header {duration(proxy.server.header_timeout)}"
    yield f"idle {duration(proxy.server.keep_alive_timeout)}"


def _misdirected() -> Lines:
    yield "respond 421"


def _application(proxy: ReverseProxy) -> Lines:
    prefix = proxy.server.root_path
    yield "# Headers of requests hold keys and tokens of clients. X-Request-ID is among those of the response."
    yield from _block("log ", _block("format filter ", _log_filter()))
    if prefix:
        yield f"@below path {prefix} {prefix}/*"
        yield from _block("handle @below ", _below_prefix(proxy, prefix))
        yield from _block("handle ", iter(["respond 404"]))
    else:
        yield from _route(proxy)


def _quoted(text: str) -> str:
    """Return *text* as one token: only quotes have a backslash before them."""
    return '"' + text.replace('"', '\\"') + '"'


def _log_filter() -> Lines:
    yield "wrap json"
    yield from _block("fields ", iter(["request>headers delete"]))


def _below_prefix(proxy: ReverseProxy, prefix: str) -> Lines:
    yield f"uri strip_prefix {prefix}"
    yield from _route(proxy)


def _route(proxy: ReverseProxy) -> Lines:
    yield from _block("route ", _steps(proxy))


def _steps(proxy: ReverseProxy) -> Lines:
    """Yield the directives in the order of their execution."""
    if not proxy.exposes_operators:
        yield "# The pages of operators, however the path is written."
        yield r"@operators vars_regexp {http.request.uri.path} ^/+-(/|$)"
        yield "respond @operators 404"
        for path in proxy.hidden_paths:
            yield f"@metrics path {_quoted(path)}"
            yield "respond @metrics 404"
    yield "# Headers that a client has forged."
    matcher = ""
    if proxy.networks:
        yield f"@untrusted not remote_ip {' '.join(proxy.networks)}"
        matcher = "@untrusted "
    yield f"request_header {matcher}-X-Forwarded-*"
    yield f"request_header {matcher}-X-Real-IP"
    if proxy.sends_forwarded:
        yield f"request_header {matcher}-Forwarded"
        yield from _block("map {http.request.remote.host} {forwarded_for} ", _forwarded_for())
    yield "# Websockets are the only upgrade that the service supports."
    yield "@upgrade not header Upgrade websocket"
    yield "request_header @upgrade -Upgrade"
    yield "# No `request_body max_size`: Caddy would take the rest of a larger chunked body for the next request."
    yield f"# The service itself rejects bodies of more than {proxy.server.max_body} with 413."
    upstreams = " ".join(map(_upstream, proxy.instances))
    yield "# Caddy counts a body that a client breaks off as a failure of the instance. So requests with a body do not"
    yield "# count, and they are sent again only when the connection failed: nothing was sent."
    yield from _block("@bodiless ", _bodiless())
    yield from _block(f"reverse_proxy @bodiless {upstreams} ", _bodiless_proxy())
    yield from _block(f"reverse_proxy {upstreams} ", _body_proxy())


def _bodiless() -> Lines:
    yield "method GET HEAD OPTIONS"
    yield "not header Content-Length *"
    yield "not header Transfer-Encoding *"


def _bodiless_proxy() -> Lines:
    yield "import instances"
    yield f"lb_retries {MAX_TRIES - 1}"
    yield from _block("lb_retry_match ", iter(["method GET HEAD OPTIONS"]))
    yield "fail_duration 2s"


def _body_proxy() -> Lines:
    yield "import instances"
    yield from _block("lb_retry_match ", iter(["expression false"]))


def _forwarded_for() -> Lines:
    """Map the address of the client to its notation in the header Forwarded (RFC 7239, section 6)."""
    yield r'~^(.*:.*)$ "for=\"[${1}]\""'
    yield "default for={http.request.remote.host}"


def _upstream(instance: ProxiedInstance) -> str:
    return f"unix/{instance.socket}" if instance.socket else instance.address


def _instances(proxy: ReverseProxy) -> Lines:
    yield "lb_policy least_conn"
    yield f"lb_try_duration {duration(TRIES_TIMEOUT)}"
    yield f"lb_try_interval {duration(TRY_INTERVAL)}"
    yield "max_fails 1"
    yield from _health_check(proxy)
    yield from _forwarded(proxy)
    yield from _block("transport http ", _transport(proxy))


def _health_check(proxy: ReverseProxy) -> Lines:
    if not proxy.checks_health:
        yield "# `management_address` is out of reach from here: readiness is not checked."
        return
    yield "# A draining instance gets no more requests within half of its `drain_delay`."
    yield f"health_uri {proxy.readiness_path}"
    if proxy.instances[0].health_port is not None:
        yield f"health_port {proxy.instances[0].health_port}"
    yield f"health_interval {duration(proxy.check_interval)}"
    yield f"health_timeout {duration(CHECK_TIMEOUT)}"
    yield "health_status 200"


def _forwarded(proxy: ReverseProxy) -> Lines:
    if proxy.networks:
        yield f"trusted_proxies {' '.join(proxy.networks)}"
    if proxy.sends_forwarded:
        yield "header_up -X-Forwarded-For"
        yield "header_up -X-Forwarded-Host"
        yield "header_up -X-Forwarded-Proto"
        yield 'header_up +Forwarded "{forwarded_for};proto={http.request.scheme}"'
    else:
        yield "header_up -Forwarded"


def _transport(proxy: ReverseProxy) -> Lines:
    if proxy.server.tls is not None:
        yield "# To verify the certificate of the instances: `tls_trusted_ca_certs FILE` instead."
        yield "tls_insecure_skip_verify"
    yield "versions 1.1"
    yield "compression off"
    yield f"dial_timeout {duration(CONNECT_TIMEOUT)}"
    yield f"response_header_timeout {duration(proxy.read_timeout)}"
    yield f"keepalive {duration(idle_time(proxy.server))}"
    yield "keepalive_idle_conns_per_host 32"


CADDY = DeployKind("Write a Caddyfile: Caddy in front of the instances.", generate_caddyfile, PROXY_OPTIONS)
