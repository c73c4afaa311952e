"""The same with a limit by address, in memory, that everybody has reached."""

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare
from tests.bench.worker import CLIENTS

PATH = starlette_bare.PATH
BODY = None
STATUS = 429
BEFORE = CLIENTS


def make() -> Host:
    return create_app({"plugins": {"ratelimit": {"default": "1/d"}}}, app=starlette_bare.make())


app = make()
