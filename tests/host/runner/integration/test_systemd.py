"""A service under a manager like systemd: real sockets passed by descriptor, and a real notification socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import HOST, Box, free_ports, wait_for
from tests.service import Service
from tests.unix_service import ask_unix
from tests.workers import stop, wait_for_new_workers, workers_of

LAUNCHER = """\
import json, os, socket, sys

names, addresses, command = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
listeners = []
for address in addresses:
    kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    listener = socket.socket(kind, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address if isinstance(address, str) else tuple(address))
    listener.listen(64)
    listeners.append(listener)
for number, each in enumerate(listeners):
    os.dup2(each.fileno(), 40 + number)
for number in range(len(listeners)):
    os.dup2(40 + number, 3 + number)
    os.set_inheritable(3 + number, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(listeners))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execv(command[0], command)
"""
DRAIN = 'drain_delay = "300ms"'


class Manager:
    """The receiver of sd_notify; *address* may be a path or an abstract name."""

    def __init__(self, address: str) -> None:
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)

    def received(self) -> list[str]:
        """Return the first line of each message so far."""
        while True:
            try:
                self.messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return [message.partition("\n")[0] for message in self.messages]

    def wait_for(self, state: str, count: int = 1) -> None:
        wait_for(f"{count} times {state}", lambda: self.received().count(state) >= count)

    def close(self) -> None:
        self._socket.close()


class ManagedService(Service):
    """A service whose manager is *manager*, with watchdog."""

    manager: Manager

    def __init__(self, toml: str, abstract: bool, **sources: str) -> None:
        super().__init__(toml, sources)
        self.abstract = abstract

    def prepare(self) -> None:
        super().prepare()
        address = f"@scalekit-test-notify-{os.getpid()}" if self.abstract else str(self.box.directory / "notify.sock")
        self.manager = Manager(address)
        self.box.environment |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}

    def is_ready(self) -> bool:
        return "READY=1" in self.manager.received() and super().is_ready()


@contextmanager
def managed(toml: str, abstract: bool = False) -> Iterator[ManagedService]:
    with ManagedService(f"[server]\n{DRAIN}\n{toml}\n", abstract) as service:
        try:
            yield service
        finally:
            service.manager.close()


@pytest.mark.parametrize(("workers", "abstract"), [("", False), ("", True), ("workers = 2", False)])
def test_the_manager_sees_start_watchdog_reload_and_stop(workers: str, abstract: bool) -> None:
    with managed(workers, abstract) as service:
        manager = service.manager
        manager.wait_for("WATCHDOG=1", 3)
        old = workers_of(service)
        before = time.monotonic_ns() // 1000
        service.signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        if workers:
            wait_for_new_workers(service, old, 2)
        manager.wait_for("READY=1", 2)
        reload = next(each for each in manager.messages if each.startswith("RELOADING=1"))
        values = dict(line.split("=", 1) for line in reload.splitlines())
        assert before <= int(values["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert service.get("/") == "/ 0"
        assert stop(service) == 0
        states = [each for each in manager.received() if each != "WATCHDOG=1"]
        assert states == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
        statuses = [line for message in manager.messages for line in message.splitlines() if line.startswith("STATUS=")]
        assert statuses[0] == ("STATUS=serving by 2 workers" if workers else "STATUS=serving")
        assert statuses[-1] == "STATUS=draining"


def test_a_blocked_process_reports_nothing() -> None:
    with managed("") as service:
        manager = service.manager
        manager.wait_for("WATCHDOG=1", 2)
        service.pause()
        manager.received()
        count = len(manager.messages)
        time.sleep(1)
        assert len(manager.received()) == count
        service.resume()
        manager.wait_for("WATCHDOG=1", count)


class ActivatedService(Service):
    """A service with passed sockets: one TCP socket, or with *management* a Unix socket of that name as well."""

    port_count = 2

    def __init__(self, toml: str = "", names: str = '["web", "management"]', pair: bool = True) -> None:
        super().__init__("")
        self.server = toml
        self.names = names
        self.pair = pair

    @property
    def path(self) -> str:
        return str(self.box.directory / "management.sock")

    def prepare(self) -> None:
        self.toml = f"[server]\n{DRAIN}\n{self.server.format(self.path)}\n"
        super().prepare()
        self.box.write("launcher.py", LAUNCHER)

    def command(self) -> list[object]:
        python, *arguments = super().command()
        # The service's own address is another one: the passed socket replaces it.
        arguments += ["--set", f"server.port={self.ports[1]}"]
        addresses = f'[["{HOST}", {self.port}]' + (f', "{self.path}"]' if self.pair else "]")
        return [python, "launcher.py", self.names, addresses, python, *arguments]

    def is_ready(self) -> bool:
        return bool(self.get("/"))


@pytest.mark.parametrize("workers", ["", "workers = 2"])
def test_passed_sockets_are_served_and_stay_after_the_end(workers: str) -> None:
    with ActivatedService(f'{workers}\nmanagement_address = "unix:{{}}"') as service:
        assert service.get("/") == "/ 0"
        assert '"phase":"ready"' in ask_unix(service.path, "/health")
        service.wait_for_log(f"on http://{HOST}:{service.port}")
        if workers:
            old = workers_of(service)
            service.signal(signal.SIGHUP)
            wait_for_new_workers(service, old, 2)
            assert service.get("/") == "/ 0"
        assert stop(service) == 0
        assert Path(service.path).is_socket(), "the file is the manager's"


@pytest.mark.parametrize(
    ("toml", "names", "message"),
    [
        ("", '["web", "web"]', "more than one of them for web"),
        ("", '["web", "management"]', "write its address as server.management_address"),
        (
            'management_address = "127.0.0.1:1"',
            '["web", "management"]',
            "but server.management_address is 127.0.0.1:1; write the same in both",
        ),
        ('role = "worker"', '["web", "management"]', "but server.role is worker"),
    ],
)
def test_sockets_that_do_not_fit_are_errors(toml: str, names: str, message: str) -> None:
    with Box("activation") as box:
        service = ActivatedService(toml, names)
        service.box, service.ports = box, free_ports(2)
        service.prepare()
        result = box.run(*service.command(), check=False)
        assert result.returncode == 1, result.stderr
        assert message in result.stderr
        assert "Traceback" not in result.stderr
