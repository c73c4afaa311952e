"""slowhttptest against a service: slow clients do not exhaust it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.host.runner.server.test_protocol import connections, resident_bytes
from tests.processes import Box, wait_for
from tests.servers import find
from tests.service import Service
from tests.tools import wrk

TOML = """
[server]
header_timeout = "1s"
body_timeout = "1s"
write_timeout = "1s"
"""
LARGE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    size = 5_000_000 if scope["path"] == "/large" else 10
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    for sent in range(0, size, 16384):
        part = b"x" * min(16384, size - sent)
        await send({"type": "http.response.body", "body": part, "more_body": sent + len(part) < size})
"""
COMMON = ["-c", 1000, "-r", 500, "-i", 1, "-l", 8, "-p", 5]
ATTACKS = {
    "slow heads": ["-H", *COMMON],
    "slow bodies": ["-B", *COMMON, "-s", 8192],
    "slow readers": ["-X", *COMMON, "-w", 10, "-y", 20, "-n", 1, "-z", 5],
}


@pytest.mark.needs("slowhttptest")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_thousand_slow_clients_are_disconnected_and_others_served(attack: str) -> None:
    with Service(TOML, {"service": LARGE}) as service, Box("slow") as box, ThreadPoolExecutor(1) as pool:
        before = resident_bytes(service.pid)
        service.pause()  # whom it does not know yet it does not cut, however slowly they come
        path = "/large" if attack == "slow readers" else "/"
        command = [find("slowhttptest"), *ATTACKS[attack], "-u", f"{service.url}{path}"]
        attacking = pool.submit(box.run, *command, check=False)
        wait_for("the attack", lambda: connections(service.port) > 300)
        service.resume()
        assert service.get("/still/here") == "x" * 10
        wait_for("the end of every slow connection", lambda: attacking.done() and connections(service.port) == 0)
        assert resident_bytes(service.pid) - before < 50_000_000
        assert service.get("/still/here") == "x" * 10


RANDOM_PATHS = """
request = function()
    return wrk.format("GET", string.format("/%x/%x?%x", math.random(2^30), math.random(2^30), math.random(2^30)))
end
"""


@pytest.mark.needs("wrk")
def test_memory_does_not_grow_with_a_hundred_thousand_unknown_paths(tmp_path: Path) -> None:
    script = tmp_path / "random.lua"
    script.write_text(RANDOM_PATHS)
    with Service("[plugins.visits]\n") as service:
        wrk(service.url, "-s", str(script), connections=32, seconds=1)
        before = resident_bytes(service.pid)
        sent = 0
        while sent < 100_000:
            sent += wrk(service.url, "-s", str(script), connections=32, seconds=3).requests
        assert resident_bytes(service.pid) - before < 10_000_000
