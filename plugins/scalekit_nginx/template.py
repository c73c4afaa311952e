"""The text of nginx's configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from scalekit.config.tables import Server
from scalekit_nginx.config import NginxConfig

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
COMPRESSED = (
    "application/javascript application/json application/manifest+json application/problem+json application/xml"
    " image/svg+xml text/css text/javascript text/plain text/xml"
)
LEAST_BUFFER = 1024
"""nginx takes no smaller buffer for a head; the application refuses what is larger than it takes."""
LONGEST_IDLE = 60.0
SHORTER = 5.0
"""Seconds by which nginx closes an idle connection to an instance before that does."""


def configuration(server: Server, table: NginxConfig, instances: Sequence[str]) -> str:
    """Return the whole configuration that sends requests to *instances*, each ``host:port``."""
    lines = [
        *_process(table),
        "http {",
        *_indented(_http(server, table)),
        *_indented(_upstream(server, table, instances)),
        *_indented(["server {", *_indented(_server(server, table)), "}"]),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _indented(lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    return (f"    {line}" if line else "" for line in lines)


def _process(table: NginxConfig) -> Iterator[str]:
    folder = quoted(Path(table.directory).absolute())
    yield "# Written by `scalekit nginx`; what is changed here is lost when it is written again."
    yield "daemon off;"
    if table.user:
        yield f"user {table.user};"
    yield f"worker_processes {table.workers or 'auto'};"
    yield f'pid {folder[:-1]}/nginx.pid";'
    yield f'error_log {folder[:-1]}/error.log" warn;'
    yield f"events {{ worker_connections {table.connections}; }}"


def _http(server: Server, table: NginxConfig) -> Iterator[str]:
    folder = quoted(Path(table.directory).absolute())[:-1]
    yield f'access_log {folder}/access.log";'
    for kind in TEMPORARY:
        yield f'{kind}_temp_path {folder}/{kind}";'
    yield "types_hash_max_size 2048;"
    yield "server_names_hash_bucket_size 1024;"
    yield "server_names_hash_max_size 4096;"
    yield "types {"
    yield from _indented(f"{kind} {endings};" for kind, endings in TYPES)
    yield "}"
    yield "default_type application/octet-stream;"
    yield "sendfile on;"
    yield "tcp_nopush on;"
    yield "server_tokens off;"
    yield "map $http_upgrade $upstream_connection { default upgrade; '' ''; }"
    yield from _forwarding(server)
    yield "gzip on;"
    yield "gzip_vary on;"
    yield "gzip_proxied any;"
    yield "gzip_min_length 1024;"
    yield f"gzip_types {COMPRESSED};"


def _forwarding(server: Server) -> Iterator[str]:
    """Say from whom the scheme and host of a proxy in front are passed on: whom the application believes."""
    yield "geo $from_trusted {"
    yield "    default 0;"
    for network in dict.fromkeys(server.trusted_proxies):
        yield f"    {network} 1;"
    yield "}"
    yield "map $from_trusted:$http_x_forwarded_proto $client_scheme {"
    yield "    default $scheme;"
    yield "    1:http http;"
    yield "    1:https https;"
    yield "}"
    yield "map $http_host $asked_host { default $http_host; '' $host; }"
    yield "map $from_trusted:$http_x_forwarded_host $client_host {"
    yield "    default $asked_host;"
    yield '    "~^1:(?<asked>[A-Za-z0-9._:-]+)$" $asked;'
    yield "}"
    yield "map $from_trusted:$http_x_forwarded_for $client_chain {"
    yield "    default $remote_addr;"
    yield '    "~^1:(?<chain>[0-9a-fA-F:., ]+)$" "$chain, $remote_addr";'
    yield "}"
    yield "map $remote_addr $forwarded_for {"
    yield '    "~:" \'for="[$remote_addr]"\';'
    yield '    default "for=$remote_addr";'
    yield "}"
    yield "map $from_trusted:$http_forwarded $forwarded_chain {"
    yield '    default "$forwarded_for;proto=$scheme";'
    yield '    "~^1:(?<forwarded>.+)$" "$forwarded, $forwarded_for;proto=$scheme";'
    yield "}"


def _upstream(server: Server, table: NginxConfig, instances: Sequence[str]) -> Iterator[str]:
    idle = _idle(server)
    yield "upstream application {"
    yield "    least_conn;"
    yield "    zone application 256k;"
    for instance in instances:
        yield f"    server {instance} max_fails=1 fail_timeout=2s;"
    yield "    keepalive 32;"
    yield f"    keepalive_timeout {milliseconds(idle)};"
    yield "}"


def _idle(server: Server) -> float:
    """Return how long an unused connection to an instance is kept.

    nginx must be the one who closes it: a POST on a connection that the instance closes at that moment is lost. While
    an instance drains it asks for each connection that is used to be closed, so those left at the end were not used.
    """
    while_draining = server.drain / 2 if server.drain else LONGEST_IDLE
    return max(0.1, min(LONGEST_IDLE, server.keep_alive - SHORTER, while_draining))


def _server(server: Server, table: NginxConfig) -> Iterator[str]:
    tls = table.certificate is not None and table.key is not None
    yield f"listen {table.listen}{' ssl http2' if tls else ''};"
    yield f"server_name {' '.join(table.names) or '_'};"
    if table.certificate is not None and table.key is not None:
        yield f"ssl_certificate {quoted(Path(table.certificate).absolute())};"
        yield f"ssl_certificate_key {quoted(Path(table.key).absolute())};"
        yield "ssl_protocols TLSv1.2 TLSv1.3;"
        yield "ssl_session_cache shared:tls:10m;"
        yield "ssl_session_tickets off;"
    yield f"client_max_body_size {max(1, int(server.max_body))};"
    yield f"large_client_header_buffers 4 {max(LEAST_BUFFER, int(server.max_header))};"
    yield f"client_header_timeout {milliseconds(server.header_timeout)};"
    yield f"client_body_timeout {milliseconds(server.body_timeout)};"
    yield f"send_timeout {milliseconds(server.write_timeout)};"
    for path, folder in table.static.items():
        yield from _static(path, folder)
    yield "location / {"
    yield from _indented(_proxy(server, table))
    yield "}"


def _static(path: str, folder: str) -> Iterator[str]:
    yield f"location {path} {{"
    yield f'    alias {quoted(Path(folder).absolute())[:-1]}/";'
    yield "    expires 30d;"
    yield '    add_header Cache-Control "public, no-transform";'
    yield '    add_header X-Content-Type-Options "nosniff" always;'
    yield "}"


def _proxy(server: Server, table: NginxConfig) -> Iterator[str]:
    yield "proxy_pass http://application;"
    yield "proxy_http_version 1.1;"
    yield "proxy_set_header Host $asked_host;"
    yield "proxy_set_header Upgrade $http_upgrade;"
    yield "proxy_set_header Connection $upstream_connection;"
    yield from _forwarded_headers(server)
    yield "proxy_connect_timeout 2s;"
    yield f"proxy_read_timeout {milliseconds(table.read_timeout)};"
    yield f"proxy_send_timeout {milliseconds(table.read_timeout)};"
    yield "# Without `non_idempotent`: a POST that an instance may have seen is given to no other."
    yield "proxy_next_upstream error timeout http_502 http_503;"
    yield f"proxy_next_upstream_tries {table.tries};"
    yield f"proxy_next_upstream_timeout {milliseconds(table.tries_time)};"
    yield "# Events and other streams pass as they come; the application has deadlines for slow readers itself."
    yield "proxy_buffering off;"


def _forwarded_headers(server: Server) -> Iterator[str]:
    """Write those headers that the application reads, and take away the others, which any client can write."""
    classic = bool(server.trusted_proxies) and server.forwarded != "forwarded"
    standard = bool(server.trusted_proxies) and server.forwarded == "forwarded"
    yield f"proxy_set_header X-Forwarded-For {'$client_chain' if classic else quoted('')};"
    yield f"proxy_set_header X-Forwarded-Proto {'$client_scheme' if classic else quoted('')};"
    yield f"proxy_set_header X-Forwarded-Host {'$client_host' if classic else quoted('')};"
    yield f"proxy_set_header Forwarded {'$forwarded_chain' if standard else quoted('')};"


def quoted(text: object) -> str:
    """Return *text* as one word of the configuration."""
    plain = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def milliseconds(seconds: float) -> str:
    """Return a time as nginx takes it: some, and no more than it can hold."""
    return f"{min(max(1, round(seconds * 1e3)), 2**31 - 1)}ms"


TYPES = (
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
