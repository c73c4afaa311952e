"""Static files of Django's admin from a real server, with the plugins that change responses."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.host.http.static_files.site_folder import THEN, write
from tests.processes import HOST, wait_for
from tests.service import Service

SIZE = 64 * 1024 * 1024
APPLICATION = """\
import django
from django.conf import settings
from django.contrib import admin
from django.core.asgi import get_asgi_application
from django.urls import path

settings.configure(
    SECRET_KEY="for tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    STATIC_URL="/static/",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    INSTALLED_APPS=[f"django.contrib.{name}" for name in (
        "admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {
        "context_processors": ["django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"]}}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
urlpatterns = [path("admin/", admin.site.urls)]
app = get_asgi_application()
"""
TOML = """\
[app.static]
"/static" = ["site", "django.contrib.admin:static"]
"/cached" = { folders = "cached", cache_control = "public, max-age=60" }
[plugins.compression]
[plugins.headers]
[plugins.cache]
policies = [{ path = "/cached/**", ttl = "1m" }]
[plugins.logging]
level = "info"
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    class Site(Service):
        def prepare(self) -> None:
            super().prepare()
            site = Path(self.box.directory, "site")
            write_sparse(site / "large.bin")
            write(site / "text.css", b"body {}\n" * 1000)
            write(site / "other.css", b"body {}\n" * 1000)
            write(site / "ready.css", b"body {}\n" * 1000)
            write(site / "ready.css.gz", gzip.compress(b"body {}\n" * 1000))
            write(site.parent / "cached" / "text.css", b"body {}\n" * 1000)

    with Site(TOML, {"service": APPLICATION}) as service:
        yield service


def write_sparse(path: Path) -> None:
    """Write zeros that take no space."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(SIZE)
    os.utime(path, (THEN, THEN))


def get(service: Service, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(HOST, service.port, timeout=60)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_the_admin_of_django_has_its_styles_and_scripts(service: Service) -> None:
    page = get(service, "/admin/login/")[1].decode()
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert any(file.endswith(".css") for file in files)
    assert any(file.endswith(".js") for file in files)
    for file in files:
        response, body = get(service, file)
        kind = "text/css" if file.endswith(".css") else "text/javascript"
        assert (response.status, response.headers["content-type"]) == (200, f"{kind}; charset=utf-8"), file
        assert response.headers["x-content-type-options"] == "nosniff"
        assert body
        again, rest = get(service, file, if_none_match=response.headers["etag"])
        assert (again.status, rest) == (304, b"")


def test_compression_encodes_only_whole_files_that_are_not_encoded(service: Service) -> None:
    response, body = get(service, "/static/text.css", accept_encoding="gzip", cookie="sessionid=1")
    assert (response.headers["content-encoding"], response.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(body) == b"body {}\n" * 1000
    assert response.headers["etag"].startswith('W/"')
    again, _ = get(service, "/static/text.css", accept_encoding="gzip", if_none_match=response.headers["etag"])
    assert (again.status, again.headers["etag"]) == (304, response.headers["etag"])
    part, body = get(service, "/static/other.css", accept_encoding="gzip", range="bytes=0-3")
    assert (part.status, body, part.headers["content-encoding"]) == (206, b"body", None)
    parts, body = get(service, "/static/other.css", accept_encoding="gzip", range="bytes=0-3,99-2000")
    assert (parts.status, parts.headers["content-length"]) == (206, str(len(body)))
    ready, body = get(service, "/static/ready.css", accept_encoding="gzip, br")
    assert ready.headers["content-encoding"] == "br"
    ready, body = get(service, "/static/ready.css", accept_encoding="gzip")
    assert (ready.headers["content-encoding"], ready.headers["etag"][:1]) == ("gzip", '"')
    assert gzip.decompress(body) == b"body {}\n" * 1000


def test_the_cache_stores_files_by_coding_and_sends_parts_of_them(service: Service) -> None:
    for _ in range(2):
        response, body = get(service, "/cached/text.css", accept_encoding="gzip")
        assert (response.status, response.headers["content-encoding"]) == (200, "gzip")
        whole, body = get(service, "/cached/text.css")
        assert (whole.headers["content-encoding"], len(body)) == (None, 8000)
        part, body = get(service, "/cached/text.css", range="bytes=0-3")
        assert (part.status, body) == (206, b"body")
    stored, _ = get(service, "/cached/text.css", accept_encoding="gzip")
    assert "hit" in stored.headers["cache-status"]


def test_a_large_file_takes_little_memory_and_does_not_block(service: Service) -> None:
    before = peak_memory(service)
    with socket.create_connection((HOST, service.port)) as slow:
        slow.sendall(b"GET /static/large.bin HTTP/1.1\r\nhost: x\r\n\r\n")
        assert slow.recv(10).startswith(b"HTTP/1.1 2")
        response, body = get(service, "/static/large.bin")
        assert (response.status, len(body)) == (200, SIZE)
        assert service.get("/health/live")
    assert peak_memory(service) - before < SIZE // 4


def peak_memory(service: Service) -> int:
    """Return the peak of the resident memory of the service in bytes."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(found) * 1024


@pytest.mark.parametrize("size", [100, SIZE + 100])
def test_a_file_that_is_written_to_while_it_is_sent_cuts_the_connection(service: Service, size: int) -> None:
    path = Path(service.box.directory, "site", "growing.bin")
    write_sparse(path)
    with socket.create_connection((HOST, service.port)) as client:
        client.settimeout(60)
        client.sendall(b"GET /static/growing.bin HTTP/1.1\r\nhost: x\r\n\r\n")
        received = len(client.recv(1000))
        path.write_bytes(b"\1" * size)
        try:
            while data := client.recv(1 << 20):
                assert b"\1" not in data
                received += len(data)
        except ConnectionResetError:
            pass
    assert received < SIZE
    assert get(service, "/static/growing.bin", range="bytes=0-0")[1] == b"\1"


def test_the_log_has_route_status_and_bytes_of_a_file(service: Service) -> None:
    get(service, "/static/text.css", user_agent="only-this", range="bytes=0-99")
    wait_for("the line in the log", lambda: "only-this" in service.log(), service.process)
    (line,) = [json.loads(line) for line in service.log().splitlines() if "only-this" in line]
    assert (line["path"], line["route"]) == ("/static/text.css", "/static/{path}")
    assert (line["status"], line["bytes"]) == (206, 100)
