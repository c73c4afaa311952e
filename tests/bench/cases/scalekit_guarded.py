"""The same under a host that checks hosts and resolves clients behind a proxy."""

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
HEADERS = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
TABLES = {"server": {"allowed_hosts": ["127.0.0.1"], "trusted_proxies": ["10.0.0.0/8"]}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
