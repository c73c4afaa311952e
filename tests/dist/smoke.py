"""The smoke test of an installation: check a file, start the service, get a response, stop it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

from tests.processes import HOST, Box, free_ports, wait_for

APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})
"""
REDIS = "redis://127.0.0.1:1"
"""Nothing listens there: the plugin degrades, but the library of its extra is imported."""
BLOCKS: Mapping[str, str] = {
    "broadcast": f'url = "{REDIS}"',
    "cache": f'url = "{REDIS}"',
    "cluster-cache": 'nodes = "127.0.0.1:1"',
    "compression": 'codings = ["br", "zstd", "gzip"]',
    "console": "",
    "cors": 'policies = [{ path = "/**", origins = ["https://shop.example.com"] }]',
    "discovery": 'services = { inventory = ["http://127.0.0.1:1"] }',
    "headers": "",
    "idempotency": f'store = "redis"\nredis_url = "{REDIS}"',
    "jwt": 'key_file = "keys.json"\nalgorithm = "ES256"\ninsecure_cookie = true',
    "logging": "",
    "metrics": "",
    "nginx": "",
    "pool": 'url = "sqlite:///app.db"',
    "queue": 'url = "amqp://127.0.0.1:1/"',
    "ratelimit": f'default = "1000/s"\nurl = "{REDIS}"',
    "replica": "",
    "tracing": 'endpoint = "http://127.0.0.1:1"',
}
"""The keys of each plugin's table."""
OTHER_BLOCKS: Mapping[str, Mapping[str, str]] = {
    "": {"cache": "", "ratelimit": 'default = "1000/s"'},
    "mysql": {"pool": 'url = "mysql://app@127.0.0.1:1/app"'},
}
"""Tables of one extra that differ."""
PLUGINS: Mapping[str, Sequence[str]] = {
    "": ("cache", "console", "cors", "headers", "nginx", "ratelimit", "tracing"),
    "alembic": ("pool",),
    "all": tuple(BLOCKS),
    "mysql": ("pool",),
    "redis": ("cache",),
    "reload": (),
    "replica": ("pool", "replica"),
}
"""Plugins that an extra is for, if not only the one of its name; an empty name is an installation without extras."""
COMMANDS: Mapping[str, Sequence[str]] = {"alembic": ("pool", "alembic", "init")}
OPTIONS: Mapping[str, Sequence[str]] = {"reload": ("--reload",)}


def configuration(extra: str, port: int) -> str:
    """Return a file that turns on the plugins that *extra* is for."""
    blocks = {**BLOCKS, **OTHER_BLOCKS.get(extra, {})}
    tables = [f"[plugins.{name}]\n{blocks[name]}\n" for name in PLUGINS.get(extra, (extra,))]
    server = f'[app]\ntarget = "service:app"\n[server]\nhost = "{HOST}"\nport = {port}\n'
    return server + "\n".join(tables)


def smoke(commands: Path, extra: str) -> None:
    """Raise an exception when the installation whose *commands* are in a folder does not serve a request."""
    with Box("smoke") as box:
        (port,) = free_ports(1)
        box.write("service.py", APPLICATION)
        box.write("scalekit.toml", configuration(extra, port))
        scalekit = commands / "scalekit"
        box.run(scalekit, "check")
        listed = box.run(scalekit, "plugins").stdout
        if missing := [name for name in BLOCKS if name not in listed]:
            raise RuntimeError(f"scalekit plugins does not list {', '.join(missing)}:\n{listed}")
        if extra in COMMANDS:
            box.run(scalekit, *COMMANDS[extra])
        server = box.spawn(scalekit, "run", *OPTIONS.get(extra, ()))
        url = f"http://{HOST}:{port}"
        wait_for("the service", lambda: _get(f"{url}/health/live"), server)
        if (body := _get(f"{url}/")) != b"hello":
            raise RuntimeError(f"the application responded {body!r}")
        box.stop(server, signal.SIGTERM)
        if server.returncode:
            raise RuntimeError(f"scalekit run ended with {server.returncode} after SIGTERM")


def _get(url: str) -> bytes:
    with urlopen(url, timeout=30) as response:  # a URL of this file
        return bytes(response.read())
