"""The same with a limit by address, in memory, that everybody has reached."""

import asyncio
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = None
STATUS = 429
