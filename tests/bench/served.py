"""A case as its users serve it, by a process that listens."""

from __future__ import annotations

import json
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

from tests.bench.cases.jwt_known import SECRET
from tests.bench.inprocess import Case
from tests.bench.peers import python_of
from tests.processes import HOST
from tests.servers import Server
from tests.tools import WrkResult, wrk

CASES = Path(__file__).parent / "cases"
ROOT = CASES.parent.parent.parent
ROOMY = "plugins.cache.memory_size=64MiB"
FILES = {
    "scalekit_empty": ("empty.toml",),
    "both_on": ("both.toml",),
    "stack_redis_cached": ("stack.toml",),
    "stack_redis_near": ("stack.toml", ROOMY),
    "stack_memory_cached": ("stack.toml", ROOMY),
}
"""Arguments of ``scalekit run`` for a case; uvicorn serves the other cases."""
PATH = "/api/data"
HEADERS = """
import importlib, json, sys
pairs = getattr(importlib.import_module(sys.argv[1]), "HEADERS", [])
print(json.dumps({name.decode(): value.decode() for name, value in pairs}))
"""


class Served(Server):
    """*case* with the *address* of Redis, if it has one; *options* go to ``scalekit run``."""

    name = "bench"

    def __init__(self, case: Case, address: str = "", options: tuple[str, ...] = ()) -> None:
        self.case = case
        self.options = options
        self.python = python_of(case.peer) if case.peer else sys.executable
        self.environment = {
            "PYTHONPATH": f"{CASES}:{ROOT}",
            "BENCH_SECRET": SECRET,
            "BENCH_REDIS": address if case.needs else "memory:",
        }

    def prepare(self) -> None:
        self.box.environment |= self.environment
        self.headers = self._headers()

    def command(self) -> list[object]:
        if self.case.module in FILES:
            file, *own = FILES[self.case.module]
            overrides = [f"server.port={self.port}", "app.target=starlette_bare:app", *own, *self.options]
            settings = [part for override in overrides for part in ("--set", override)]
            return [self.python, "-m", "scalekit", "run", CASES / file, *settings]
        quiet = ["--no-access-log", "--log-level", "warning"]
        return [self.python, "-m", "uvicorn", f"{self.case.module}:app", "--port", self.port, *quiet]

    def is_ready(self) -> bool:
        connection = HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", PATH, headers=self.headers)
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def load(self, seconds: int) -> WrkResult:
        """Return the result of wrk with 64 connections; raises RuntimeError for an unexpected response."""
        options = [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        result = wrk(f"http://{HOST}:{self.port}{PATH}", *options, connections=64, seconds=seconds)
        if result.not_2xx_or_3xx:
            raise RuntimeError(f"{self.case.title}: {result.not_2xx_or_3xx} responses were refusals or errors")
        return result

    def _headers(self) -> dict[str, str]:
        """Return the request headers of the case, computed by its own interpreter."""
        command = [self.python, "-c", HEADERS, self.case.module]
        found = subprocess.run(command, env=self.box.environment, capture_output=True, text=True, check=True)
        headers: dict[str, str] = json.loads(found.stdout)
        return headers
