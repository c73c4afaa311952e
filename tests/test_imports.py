"""A start imports no library that its configuration has no use for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

LIBRARIES = """
aiohttp aiormq aiosqlite argon2 asyncpg authlib cryptography ctypes databases dns hiredis httpx2 joserfc
prometheus_client pygments redis rich sqlalchemy sqlglot structlog
"""
OF_OTHER_COMMANDS = {"scalekit.deploy", "scalekit.doctor"}
APPLICATION = """
import sys
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""
START = """
import sys
from scalekit.runner.server.graceful_shutdown import GracefulServer
async def main_loop(self): self.drain_delay = 0.0
GracefulServer.main_loop = main_loop
from scalekit.cli import main
try:
    main()
finally:
    names = {".".join(name.split(".")[: 2 if name.startswith("scalekit.") else 1]) for name in sys.modules}
    print("imported", *sorted(names))
"""
"""Source that starts and stops an application, and prints the imported modules: of the top level, and of the host's."""

SECRET = 'secret = "0123456789abcdef0123456789abcdef"\n'
JWT = f"[plugins.jwt]\n{SECRET}insecure_cookie = true\n"
REDIS = 'url = "redis://127.0.0.1:1"\n'
STACK = f"[plugins.metrics]\n[plugins.logging]\n{JWT}[plugins.ratelimit]\n%s[plugins.cache]\n%s"


@pytest.mark.parametrize(
    ("toml", "used"),
    [
        ("", set()),
        (STACK % ("", ""), {"structlog"}),
        (STACK % (REDIS, REDIS), {"structlog", "hiredis"}),
        ('[plugins.jwt]\nkey_file = "keys.json"\nalgorithm = "ES256"\n', {"joserfc", "cryptography"}),
        ('[plugins.pool]\nurl = "sqlite:///a.db"\n', {"databases", "sqlalchemy", "aiosqlite"}),
        ('[plugins.queue]\nurl = "sqlite:///q.db"\n', set()),
        ("[plugins.discovery]\n", {"aiohttp"}),
        ('[plugins.cluster-cache]\nnodes = "memory:"\n', set()),
    ],
    ids=["nothing", "stack", "stack on Redis", "asymmetric keys", "pool", "queue", "discovery", "cluster-cache"],
)
def test_a_start_imports_no_library_that_it_does_not_use(toml: str, used: set[str], tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(APPLICATION)
    (tmp_path / "scalekit.toml").write_text(f'[app]\ntarget = "service:app"\n[server]\nport = 0\n{toml}')
    ended = subprocess.run(
        [sys.executable, "-c", START, "run"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("imported ")]
    imported = set(line.split())
    assert set(LIBRARIES.split()) & imported == used
    assert "scalekit.runner" in imported
    assert imported & OF_OTHER_COMMANDS == set()
