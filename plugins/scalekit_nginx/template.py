"""Render nginx's configuration file.

Every value is written quoted or is restricted by the config model, so no value can add a directive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalekit import Server
from scalekit.deploy import idle_time
from scalekit_nginx.config import NginxConfig
from scalekit_nginx.forwarded_headers import forwarded_headers, forwarding_maps

TEMP_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
GZIP_TYPES = (
    "application/javascript application/json application/manifest+json application/problem+json application/xml"
    " image/svg+xml text/css text/javascript text/plain text/xml"
)
MIN_HEADER_BUFFER = 1024
"""Bytes of the smallest header buffer that nginx accepts; the application enforces a smaller `max_header` itself."""
MAX_FAIL_TIMEOUT = 2
"""Seconds for which nginx skips an instance after a failure, at most."""


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """The file as a whole: its first lines, and the *folder* on which the paths of the table are based.

    *hidden_paths* of the service are not served.
    """

    header: Sequence[str]
    folder: Path
    hidden_paths: Sequence[str] = ()

    def path(self, path: str) -> str:
        """Return *path* as a quoted parameter."""
        return quoted(self.folder / path)


def render(file: ConfigurationFile, server: Server, config: NginxConfig, instances: Sequence[str]) -> str:
    """Return the complete configuration; its upstreams are *instances*, each ``host:port`` or ``unix:/PATH``."""
    lines = [
        *file.header,
        *_main_context(file, config),
        "http {",
        *_indented(_http(file, server, config)),
        *_indented(_upstream(server, instances)),
        *_indented(["server {", *_indented(_server(file, server, config)), "}"]),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _indented(lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    return (f"    {line}" if line else "" for line in lines)


def _main_context(file: ConfigurationFile, config: NginxConfig) -> Iterator[str]:
    if config.user:
        yield f"user {config.user};"
    yield f"worker_processes {config.worker_processes or 'auto'};"
    yield f"pid {file.path(f'{config.directory}/nginx.pid')};"
    yield f"error_log {file.path(f'{config.directory}/error.log')} warn;"
    yield f"events {{ worker_connections {config.worker_connections}; }}"


def _http(file: ConfigurationFile, server: Server, config: NginxConfig) -> Iterator[str]:
    yield "log_format requests '$remote_addr [$time_iso8601] \"$request\" $status $body_bytes_sent $request_time'"
    yield "    ' upstream=$upstream_addr request_id=$upstream_http_x_request_id';"
    yield f"access_log {file.path(f'{config.directory}/access.log')} requests;"
    for kind in TEMP_PATHS:
        yield f"{kind}_temp_path {file.path(f'{config.directory}/{kind}')};"
    yield "types_hash_max_size 2048;"
    yield "server_names_hash_bucket_size 1024;"
    yield "server_names_hash_max_size 4096;"
    yield "types {"
    yield from _indented(f"{kind} {endings};" for kind, endings in MIME_TYPES)
    yield "}"
    yield "default_type application/octet-stream;"
    yield "sendfile on;"
    yield "tcp_nopush on;"
    yield "server_tokens off;"
    yield "# Websockets are the only upgrade that the service supports."
    yield "map $http_upgrade $upstream_upgrade { default ''; ~*^websocket$ websocket; }"
    yield "map $upstream_upgrade $upstream_connection { default upgrade; '' ''; }"
    if server.root_path:
        yield from _stripped_uri(re.escape(server.root_path))
    yield from forwarding_maps(server)


def _stripped_uri(prefix: str) -> Iterator[str]:
    """Define the URI as the client has written it, without *prefix*, a regular expression."""
    yield "map $request_uri $upstream_uri {"
    yield f'    "~^{prefix}(?<below>/.*)$" $below;'
    yield f'    "~^{prefix}(?<query>[?].*)?$" /$query;'
    yield "}"


def _upstream(server: Server, instances: Sequence[str]) -> Iterator[str]:
    yield "upstream application {"
    yield "    least_conn;"
    yield "    zone application 256k;"
    for instance in instances:
        address = quoted(instance) if instance.startswith("unix:") else instance
        yield f"    server {address} max_fails=1 fail_timeout={_fail_timeout(server)}s;"
    yield "    keepalive 32;"
    yield f"    keepalive_timeout {milliseconds(idle_time(server))};"
    yield "}"


def _fail_timeout(server: Server) -> int:
    """Return for how many seconds nginx skips an instance after a failure.

    An instance that has restarted must be in use again before the next one, which drains meanwhile, ends.
    """
    return 1 if 0 < server.drain_delay < 2 * MAX_FAIL_TIMEOUT else MAX_FAIL_TIMEOUT


def _server(file: ConfigurationFile, server: Server, config: NginxConfig) -> Iterator[str]:
    yield f"listen {config.listen}{' ssl http2' if config.tls else ''};"
    if config.tls is None:
        yield "# For HTTPS and HTTP/2: `tls` in [plugins.nginx], or --tls-cert of `scalekit deploy nginx`."
    yield f"server_name {' '.join(config.server_names) or '_'};"
    if config.tls:
        yield f"ssl_certificate {file.path(config.tls.cert_file)};"
        yield f"ssl_certificate_key {file.path(config.tls.key_file)};"
        yield "ssl_protocols TLSv1.2 TLSv1.3;"
        yield "ssl_session_cache shared:tls:10m;"
        yield "ssl_session_tickets off;"
    yield f"client_max_body_size {max(1, int(server.max_body))};"
    yield f"large_client_header_buffers 4 {max(MIN_HEADER_BUFFER, int(server.max_header))};"
    yield f"client_header_timeout {milliseconds(server.header_timeout)};"
    yield f"client_body_timeout {milliseconds(server.body_timeout)};"
    yield f"send_timeout {milliseconds(server.write_timeout)};"
    yield f"keepalive_timeout {milliseconds(server.keep_alive_timeout)};"
    for path, folder in config.static.items():
        yield from _static(path, file.path(folder))
    if not config.operator_pages:
        yield f"location = {server.root_path}/- {{ return 404; }}"
        yield f"location ^~ {server.root_path}/-/ {{ return 404; }}"
    for path in file.hidden_paths:
        yield f"location = {quoted(server.root_path + path)} {{ return 404; }}"
    if server.root_path:
        yield "location / { return 404; }"
        yield f"location = {server.root_path} {{"
        yield from _indented(_proxy(server, config))
        yield "}"
    if f"{server.root_path}/" not in config.static:
        yield f"location {server.root_path}/ {{"
        yield from _indented(_proxy(server, config))
        yield "}"


def _static(path: str, folder: str) -> Iterator[str]:
    yield f"location {path} {{"
    yield f'    alias {folder[:-1]}/";'
    yield "    expires 30d;"
    yield '    add_header Cache-Control "public, no-transform";'
    yield '    add_header X-Content-Type-Options "nosniff" always;'
    yield "    gzip on;"
    yield "    gzip_vary on;"
    yield "    gzip_proxied any;"
    yield "    gzip_min_length 1024;"
    yield f"    gzip_types {GZIP_TYPES};"
    yield "}"


def _proxy(server: Server, config: NginxConfig) -> Iterator[str]:
    uri = "$upstream_uri" if server.root_path else ""
    yield f"proxy_pass {'https' if server.tls else 'http'}://application{uri};"
    yield "proxy_http_version 1.1;"
    yield "proxy_set_header Host $request_host;"
    yield "proxy_set_header Upgrade $upstream_upgrade;"
    yield "proxy_set_header Connection $upstream_connection;"
    yield from forwarded_headers(server)
    yield "proxy_connect_timeout 2s;"
    yield f"proxy_read_timeout {milliseconds(config.read_timeout)};"
    yield f"proxy_send_timeout {milliseconds(config.read_timeout)};"
    yield "# Without `non_idempotent`: nginx never sends a POST again that an instance may have received."
    yield "# Without `http_503`: an overloaded service is not called more, and its Retry-After reaches the client."
    yield "proxy_next_upstream error timeout;"
    yield f"proxy_next_upstream_tries {config.upstream_tries};"
    yield f"proxy_next_upstream_timeout {milliseconds(config.upstream_tries_timeout)};"
    yield "# The length of a compressed response can reveal a secret in it (BREACH): left to the plugin compression."
    yield "gzip off;"
    yield "# Streams are not delayed; the application limits slow clients itself (write_timeout)."
    yield "proxy_buffering off;"


def quoted(text: object) -> str:
    """Return *text* as a quoted parameter of a directive."""
    plain = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def milliseconds(seconds: float) -> str:
    """Return *seconds* in nginx's notation, between 1 ms and the largest value that nginx accepts."""
    return f"{min(max(1, round(seconds * 1e3)), 2**31 - 1)}ms"


MIME_TYPES = (
    ("text/html", "html htm"),
    ("text/css", "css"),
    ("text/javascript", "js mjs"),
    ("text/plain", "txt"),
    ("text/xml", "xml"),
    ("application/json", "json map"),
    ("application/manifest+json", "webmanifest"),
    ("application/pdf", "pdf"),
    ("application/wasm", "wasm"),
    ("application/zip", "zip"),
    ("font/woff", "woff"),
    ("font/woff2", "woff2"),
    ("image/avif", "avif"),
    ("image/gif", "gif"),
    ("image/jpeg", "jpeg jpg"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/webp", "webp"),
    ("image/x-icon", "ico"),
    ("video/mp4", "mp4"),
    ("video/webm", "webm"),
)
