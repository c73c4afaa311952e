"""Ways to serve the console: with TLS, behind nginx, on other addresses, under another server, twice in a process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.console.clients import TOKEN
from tests.processes import HOST
from tests.servers import Nginx, ask
from tests.service import Foreign, Service
from tests.tls_service import TlsService
from tests.unix_service import UnixService

NAME = "shop.test"
"""A host name that browsers get the address of by RESOLVER; they send no Sec-Fetch-Site to it over plain HTTP."""
OPTIONS = ("--ignore-certificate-errors", f"--host-resolver-rules=MAP {NAME} {HOST}")
SERVER = f'drain_delay = "0s"\noperator_token = "{TOKEN}"\n'
PLUGINS = "[plugins.console]\n[plugins.clock]\n"
CLOCK = """
from itertools import count

from scalekit import hookimpl
from scalekit.pages import *

renderings = count()

async def render(view):
    return [Facts({"rendering": next(renderings)}), ActionForm("wind")]

async def wind(values):
    return f"wound by {values['turns']}"

@hookimpl
def scalekit_pages(context):
    actions = [PageAction("wind", "Wind", wind, [FormField("turns", "Turns")])]
    return [ConsolePage("clock", "Clock", render, actions=actions, live=True)]
"""
PROXY = """
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
"""
TWO = f"""
from contextlib import asynccontextmanager

from service import app
from starlette.applications import Starlette
from starlette.routing import Mount

from scalekit import create_app
from scalekit.testing import running

def shop(name):
    plugins = {{"console": {{}}, "clock": {{}}}}
    server = {{"operator_token": f"{TOKEN}-{{name}}"}}
    return create_app({{"app": {{"name": name}}, "server": server, "plugins": plugins}}, app=app)

one, two = shop("one"), shop("two")

@asynccontextmanager
async def lifespan(app):
    async with running(one), running(two):
        yield

both = Starlette(routes=[Mount("/one", one), Mount("/two", two)], lifespan=lifespan)
"""


@dataclass(frozen=True)
class Served:
    """The *url* of an application of *service*, and the *token* of its operators."""

    url: str
    service: Service
    token: str = TOKEN


@contextmanager
def plain() -> Iterator[Served]:
    with Service(f"[server]\n{SERVER}{PLUGINS}", plugins={"clock": CLOCK}) as service:
        yield Served(service.url, service)


@contextmanager
def by_name() -> Iterator[Served]:
    """Serve plain HTTP at a name, to which browsers send no ``Sec-Fetch-Site``."""
    with Service(f"[server]\n{SERVER}{PLUGINS}", plugins={"clock": CLOCK}) as service:
        yield Served(f"http://{NAME}:{service.port}", service)


@contextmanager
def workers() -> Iterator[Served]:
    with Service(f"[server]\nworkers = 2\n{SERVER}{PLUGINS}", plugins={"clock": CLOCK}) as service:
        yield Served(service.url, service)


@contextmanager
def tls() -> Iterator[Served]:
    with TlsService(SERVER, PLUGINS, plugins={"clock": CLOCK}) as service:
        yield Served(service.url, service)


@contextmanager
def http2() -> Iterator[Served]:
    """Serve HTTP/2 and TLS by nginx, and TLS behind it."""
    server = f'{SERVER}trusted_proxies = ["{HOST}"]\n'
    with TlsService(server, PLUGINS, plugins={"clock": CLOCK}) as service:
        files = service.files
        certificate = f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};"
        location = f"location / {{ proxy_pass https://{HOST}:{service.port}; {PROXY} }}"
        with Nginx(http=f"server {{ listen {HOST}:@port@ ssl http2; {certificate} {location} }}") as nginx:
            yield Served(f"https://{HOST}:{nginx.port}", service)


@contextmanager
def ipv6() -> Iterator[Served]:
    with _Ipv6Service(f'[server]\nhost = "::1"\n{SERVER}{PLUGINS}', plugins={"clock": CLOCK}) as service:
        yield Served(f"http://[::1]:{service.port}", service)


@contextmanager
def unix_socket() -> Iterator[Served]:
    """Serve on a Unix socket, behind nginx."""
    server = f'{SERVER}trusted_proxies = ["unix"]\n{PLUGINS}'
    with UnixService(server, plugins={"clock": CLOCK}) as service:
        location = f"location / {{ proxy_pass http://unix:{service.path}; {PROXY} }}"
        with Nginx(http=f"server {{ listen {HOST}:@port@; {location} }}") as nginx:
            yield Served(f"http://{NAME}:{nginx.port}", service)


@contextmanager
def root_path() -> Iterator[Served]:
    """Serve below a prefix, which nginx removes."""
    server = f'{SERVER}trusted_proxies = ["{HOST}"]\nroot_path = "/shop"\n'
    with Service(f"[server]\n{server}{PLUGINS}", plugins={"clock": CLOCK}) as service:
        location = f"location /shop/ {{ proxy_pass http://{HOST}:{service.port}/; {PROXY} }}"
        with Nginx(http=f"server {{ listen {HOST}:@port@; {location} }}") as nginx:
            yield Served(f"http://{NAME}:{nginx.port}/shop", service)


@contextmanager
def uvicorn() -> Iterator[Served]:
    with Foreign("uvicorn", f"[server]\n{SERVER}{PLUGINS}", plugins={"clock": CLOCK}) as service:
        yield Served(service.url, service)


@contextmanager
def mounted() -> Iterator[Served]:
    """Serve the second one of two applications that another one mounts."""
    with _Mounting() as service:
        yield Served(f"{service.url}/two", service, f"{TOKEN}-two")


SETUPS: dict[str, Callable[[], AbstractContextManager[Served]]] = {
    each.__name__: each
    for each in (plain, by_name, workers, tls, http2, ipv6, unix_socket, root_path, uvicorn, mounted)
}


class _Ipv6Service(Service):
    def is_ready(self) -> bool:
        return " on http://[::1]:" in self.log()


class _Mounting(Foreign):
    """Two applications with a console in one process of uvicorn."""

    def __init__(self) -> None:
        super().__init__("uvicorn", sources={"two": TWO}, plugins={"clock": CLOCK})

    def command(self) -> list[object]:
        return [sys.executable, "-m", "uvicorn", "--host", HOST, "--port", self.port, "--no-access-log", "two:both"]

    def is_ready(self) -> bool:
        return "ready" in ask(self.port, "GET", "/one/health/ready") + ask(self.port, "GET", "/two/health/ready")
