"""``scalekit log-level`` changes all workers of a running service, also new ones, and for a limited time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from subprocess import CompletedProcess

import pytest

from tests.command_line import scalekit
from tests.processes import free_ports, wait_for
from tests.workers import Supervised, serving_pids, wait_for_new_workers, workers_of

LOGGING = """
import logging
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    logging.getLogger("shop.orders").debug("from %d for %s", os.getpid(), scope["path"])
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


class Managed(Supervised):
    """A service with a management address, which the command finds in its file."""

    def __init__(self) -> None:
        (self.management,) = free_ports(1)
        toml = f'[server]\nworkers = 2\ndrain_delay = "100ms"\nmanagement_address = "127.0.0.1:{self.management}"\n'
        super().__init__(toml + "[plugins.logging]\naccess = false\n", {"service": LOGGING})

    def is_ready(self) -> bool:
        return " workers on http" in self.log()

    def log_level(self, *arguments: str) -> CompletedProcess[str]:
        environment = {**os.environ, **self.box.environment}
        return scalekit("log-level", *arguments, folder=self.box.directory, environment=environment)

    def table(self, *arguments: str) -> list[list[str]]:
        """Return the rows that the command prints, without their last column."""
        result = self.log_level(*arguments)
        assert result.returncode == 0, result.stderr
        return [line.replace("all others", "all").split()[:3] for line in result.stdout.splitlines()[1:]]

    def logging_pids(self, path: str) -> set[int]:
        """Send requests for *path* to both workers, and return those that log them at debug."""
        seen: set[int] = set()

        def both() -> bool:
            seen.add(int(self.get(path)))
            return len(seen) == 2

        wait_for("both workers", both)
        return {pid for pid in seen if f"from {pid} for {path}" in self.log()}


class OnUnixSocket(Managed):
    """The same with Unix sockets as the public and the management address; the latter is abstract."""

    def __init__(self) -> None:
        super().__init__()
        self.toml = "[plugins.logging]\n"

    def prepare(self) -> None:
        sockets = (
            f'host = "unix:{self.box.directory}/app.sock"\nmanagement_address = "unix:@scalekit-{self.management}"\n'
        )
        self.toml = f"[server]\n{sockets}{self.toml}"
        super().prepare()

    def is_ready(self) -> bool:
        return " on unix:" in self.log()


@pytest.fixture(scope="module")
def service() -> Iterator[Managed]:
    with Managed() as service:
        yield service


def test_an_override_applies_in_all_workers_and_is_reset(service: Managed) -> None:
    pids = serving_pids(service, 2)
    assert service.table() == [["all", "info", "info"]]
    assert service.logging_pids("/before") == set()
    assert service.table("debug", "--for", "10m") == [["all", "debug", "info"]]
    wait_for("lines of both", lambda: service.logging_pids("/during") == pids)
    assert service.table("reset") == [["all", "info", "info"]]
    assert service.logging_pids("/after") == set()
    assert "log level of all loggers set to debug for 10m by 127.0.0.1 ('scalekit log-level of" in service.log()


def test_an_override_ends_although_the_command_is_gone(service: Managed) -> None:
    service.table("debug", "--for", "300ms", "--logger", "shop")
    wait_for("the end", lambda: service.log().count("the override of the log level of 'shop' has ended") == 2)
    assert service.logging_pids("/ended") == set()
    assert service.table() == [["all", "info", "info"]]


def test_a_replaced_worker_has_the_override_with_its_remaining_time(service: Managed) -> None:
    service.table("debug", "--for", "1h", "--logger", "shop.orders")
    before = workers_of(service)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    after = set(wait_for_new_workers(service, before, 2))
    serving_pids(service, 2)
    wait_for("lines of the new workers", lambda: service.logging_pids("/replaced") == after)
    service.signal(signal.SIGHUP)
    newest = set(wait_for_new_workers(service, list(after), 2))
    wait_for("lines of the newest workers", lambda: service.logging_pids("/reloaded") == newest)
    result = service.log_level()
    assert "shop.orders  debug  inherited   59m " in result.stdout
    service.table("reset", "--logger", "shop.orders")
    assert service.logging_pids("/reset") == set()


def test_a_service_on_unix_sockets_is_found() -> None:
    with OnUnixSocket() as service:
        assert service.table("debug") == [["all", "debug", "info"]]
        wait_for("the log", lambda: "set to debug for 10m by a local socket" in service.log())
        path = f"{service.box.directory}/app.sock"
        public = f"[server]\nhost = 'unix:{path}'\noperator_token = 'secret'\n[app]\ntarget = 'service:app'\n"
        service.box.write("public.toml", public)
        assert "the service responds with" in service.log_level("public.toml").stderr
        service.box.write("gone.toml", public.replace("app.sock", "gone.sock"))
        assert f"no service responds at unix:{path[:-8]}gone.sock" in service.log_level("gone.toml").stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["loud"], 2, "expected debug, info, warning, error, critical or reset, got 'loud'"),
        (["debug", "--for", "25h"], 1, "for: expected a duration above zero and up to 1d, got '25h'"),
        (["debug", "--for", "soon"], 1, "for: expected a duration such as 10m, got 'soon'"),
        (["debug", "--set", "server.management_address=127.0.0.1:1"], 1, "no service responds at 127.0.0.1:1"),
        (["debug", "missing.toml"], 78, "missing.toml"),
    ],
)
def test_a_mistake_names_value_and_choices(service: Managed, arguments: list[str], status: int, message: str) -> None:
    result = service.log_level(*arguments)
    assert (result.returncode, result.stdout) == (status, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_service_without_operators_cannot_be_changed(service: Managed) -> None:
    service.box.write("open.toml", '[app]\ntarget = "service:app"\n')
    result = service.log_level("open.toml")
    assert (result.returncode, result.stdout) == (1, "")
    assert "set server.management_address in the file" in result.stderr
    service.box.write("open.toml", '[app]\ntarget = "service:app"\n[server]\nport = 0\noperator_token = "secret"\n')
    assert "server.port = 0 is chosen at the start" in service.log_level("open.toml").stderr


def test_the_file_may_be_the_last_argument_or_an_option(service: Managed) -> None:
    for arguments in (["scalekit.toml"], ["-c", "scalekit.toml"]):
        assert service.table(*arguments) == [["all", "info", "info"]]
    assert service.table("info", "--for", "1m", "scalekit.toml") == [["all", "info", "info"]]
    service.table("reset")
