"""``scalekit run --reload`` starts the service again when its code or file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import watchfiles

from scalekit.cli import reload
from tests.processes import wait_for
from tests.service import Service

APPLICATION = """\
import asyncio


async def app(scope, receive, send):
    body = b"{word}"
    if scope["path"] == "/read":
        body = input().encode()
    elif scope["path"] == "/slow":
        print("in flight")
        await asyncio.sleep(0.5)
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})
"""
TERMINAL = """\
import os, pty, sys
os.dup2(os.open("keyboard", os.O_RDWR), 0)
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""
"""Runs a command in a terminal; its keyboard is the named pipe ``keyboard``."""
ENDED_IN_ORDER = 7
WAITING = f"trap 'exit {ENDED_IN_ORDER}' INT; echo ready; while :; do sleep 0.01; done"
"""A shell command that handles SIGINT."""


class Reloading(Service):
    """``scalekit run --reload``."""

    def command(self) -> list[object]:
        return [*super().command(), "--reload"]

    def write(self, name: str, text: str) -> None:
        """Write a file; its size must differ, since Python compares the time of byte code in whole seconds."""
        (self.box.directory / name).write_text(text)

    def wait_for_response(self, path: str, text: str) -> None:
        def responds() -> bool:
            try:
                return text in self.get(path)
            except OSError:
                return False

        wait_for(f"{text!r} at {path}", responds, self.process)


class InTerminal(Reloading):
    """``scalekit run --reload`` in a terminal."""

    def prepare(self) -> None:
        super().prepare()
        os.mkfifo(self.box.directory / "keyboard")

    def command(self) -> list[object]:
        return [sys.executable, "-c", TERMINAL, *super().command()]

    def type(self, text: str) -> None:
        self.write("keyboard", text)


@pytest.fixture
def service() -> Iterator[Reloading]:
    with Reloading(sources={"service": APPLICATION.format(word="one")}) as running:
        yield running


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Replace services by shells that wait, and return their processes."""
    started: list[subprocess.Popen[bytes]] = []

    def start(arguments: object) -> subprocess.Popen[bytes]:
        service = subprocess.Popen(["sh", "-c", WAITING], stdout=subprocess.PIPE)
        started.append(service)
        assert service.stdout is not None
        assert service.stdout.readline() == b"ready\n"
        return service

    monkeypatch.setattr(reload, "_start", start)
    yield started
    for each in started:
        each.kill()
        each.communicate()


def test_a_change_of_code_and_of_the_file_is_served(service: Reloading) -> None:
    service.wait_for_response("/", "one")
    service.write("service.py", APPLICATION.format(word="second"))
    service.wait_for_response("/", "second")
    service.wait_for_log("changed: service.py")
    service.write("scalekit.toml", "[plugins.metrics]\n")
    service.wait_for_response("/metrics", "process_")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    with pytest.raises(OSError, match="refused"):
        service.get("/")


def test_after_a_mistake_the_next_change_is_served(service: Reloading) -> None:
    service.write("scalekit.toml", "[plugins.metrix]\n")
    service.wait_for_log("did you mean 'metrics'")
    service.write("scalekit.toml", "")
    service.wait_for_response("/", "one")
    service.write("service.py", "app = 1 +\n")
    service.wait_for_log("SyntaxError")
    service.write("service.py", APPLICATION.format(word="three"))
    service.wait_for_response("/", "three")


def test_the_service_reads_the_terminal_and_ctrl_c_ends_it_in_order() -> None:
    with InTerminal(sources={"service": APPLICATION.format(word="one")}) as service, ThreadPoolExecutor() as threads:
        service.type("four\n")
        assert service.get("/read") == "four"
        response = threads.submit(service.get, "/slow")
        service.wait_for_log("in flight")
        service.type("\x03")
        assert response.result() == "one"
        assert service.wait() == 0


@pytest.mark.parametrize("number", reload.SIGNALS)
def test_a_signal_ends_the_service_and_no_other_starts(
    services: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def watch(*folders: object, stop_event: Any, **options: object) -> Iterator[set[tuple[int, str]]]:
        signal.raise_signal(number)
        assert stop_event.is_set()
        yield {(1, "service.py")}

    monkeypatch.setattr(watchfiles, "watch", watch)
    monkeypatch.setattr(reload, "_is_in_foreground", lambda: False)
    assert reload.run_with_reload("scalekit.toml", []) == ENDED_IN_ORDER
    assert len(services) == 1


def test_a_failure_to_watch_ends_the_service(
    services: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(*folders: object, **options: object) -> Iterator[set[tuple[int, str]]]:
        yield {(1, "service.py")}
        raise OSError("limit on inotify watches reached")

    monkeypatch.setattr(watchfiles, "watch", watch)
    with pytest.raises(OSError, match="inotify"):
        reload.run_with_reload("scalekit.toml", [])
    assert [each.poll() for each in services] == [ENDED_IN_ORDER] * 2


def test_a_stopped_service_ends_in_order(
    services: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(*folders: object, **options: object) -> Iterator[set[tuple[int, str]]]:
        services[0].send_signal(signal.SIGSTOP)
        return iter(())

    monkeypatch.setattr(watchfiles, "watch", watch)
    assert reload.run_with_reload("scalekit.toml", []) == ENDED_IN_ORDER
