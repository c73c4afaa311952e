from __future__ import annotations

import signal
import socket
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from scalekit import StartError
from scalekit.runner.server.listeners import address_of, bind
from tests.command_line import scalekit
from tests.processes import HOST
from tests.service import APPLICATION, Service
from tests.workers import Supervised

FAILING = """\
async def app(scope, receive, send):
    await send({"type": "lifespan.startup.failed", "message": "no licence"})
"""
FAILS_TO_STOP = """\
class OutOfPaperError(Exception):
    pass


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise OutOfPaperError("tray 2")
"""


def run(folder: Path, toml: str, source: str = APPLICATION) -> CompletedProcess[str]:
    (folder / "service.py").write_text(source)
    (folder / "scalekit.toml").write_text(f'[app]\ntarget = "service:app"\n{toml}')
    return scalekit("run", folder=folder)


def test_the_address_and_example_requests_are_logged() -> None:
    with Service() as service:
        log = service.log()
        assert f"serving service:app with no plugins on {service.url}" in log
        assert f"try: curl -i {service.url}/" in log
        assert f"try: curl {service.url}/health" in log


def test_a_port_in_use_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        result = run(tmp_path, f"[server]\nport = {port}")
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "choose another port with --set server.port=PORT" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_application_that_fails_to_start_is_logged_once_and_the_process_exits(tmp_path: Path) -> None:
    result = run(tmp_path, "[server]\nport = 0", FAILING)
    assert result.returncode == 1
    assert result.stderr.count("no licence") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("workers", ["", "workers = 2"])
def test_an_application_that_fails_to_stop_is_logged_and_the_exit_status_is_1(workers: str) -> None:
    service = Supervised if workers else Service
    with service(f"[server]\n{workers}\ndrain_delay = '0s'", {"service": FAILS_TO_STOP}) as running:
        running.signal(signal.SIGTERM)
        assert running.wait(60) == 1
        log = running.log()
    assert "the application failed to stop" in log
    assert "OutOfPaperError: tray 2" in log


def test_an_invalid_file_exits_with_status_78(tmp_path: Path) -> None:
    result = run(tmp_path, "[server]\nprot = 1\n[plugins.cahce]\n")
    assert result.returncode == 78
    assert "scalekit.toml:4: server.prot: unknown key; did you mean 'port'?" in result.stderr
    assert "scalekit.toml:5: plugins.cahce: no such plugin is installed" in result.stderr
    assert "2 mistakes in the configuration; not started" in result.stderr


@pytest.mark.parametrize("host", ["256.1.1.1", "no.such.host.invalid", "10.255.255.1"])
def test_an_address_of_another_machine_is_an_error_with_its_remedy(host: str) -> None:
    with pytest.raises(StartError, match=f"cannot listen on {host}:0: .*; name an address of this machine with --set"):
        bind(host, 0, 5)


def test_ipv6_addresses_are_written_in_brackets() -> None:
    assert address_of("::1", 80) == "[::1]:80"
    with bind("::1", 0, 5) as listener:
        assert listener.family == socket.AF_INET6
