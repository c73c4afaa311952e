"""Whoever has connected is answered, up to the last moment before the address is closed."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from scalekit.runner.server.listener_drain import drop_new_syns, has_pending_connections
from tests.host.runner.server.test_protocol import connections
from tests.processes import HOST, wait_for
from tests.service import Service
from tests.workers import Supervised

KNOCKERS = 4
REQUEST = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody"


def knock_until_closed(port: int) -> tuple[int, list[str]]:
    """Connect and send, again and again, until nobody opens; return how many were answered, and who was not."""
    answered = 0
    failed: list[str] = []
    while True:
        try:
            connection = socket.create_connection((HOST, port), timeout=60)
        except OSError:
            return answered, failed
        with connection:
            try:
                connection.sendall(REQUEST)
                answer = connection.recv(1000)
            except OSError as error:
                answer = repr(error).encode()
        if answer.startswith(b"HTTP/1.1 200"):
            answered += 1
        else:
            failed.append(answer.decode() or "closed without an answer")


@pytest.mark.parametrize("kind", [Service, Supervised])
@pytest.mark.parametrize("attempt", range(3))
def test_who_has_connected_is_answered_until_the_door_is_closed(kind: type[Service], attempt: int) -> None:
    workers = "workers = 2\n" if kind is Supervised else ""
    with kind(f'[server]\ndrain = "300ms"\n{workers}') as service, ThreadPoolExecutor(KNOCKERS) as pool:
        knocking = [pool.submit(knock_until_closed, service.port) for _ in range(KNOCKERS)]
        wait_for("the first answers", lambda: service.get("/x") == "/x 0")
        service.signal(signal.SIGTERM)
        results = [each.result() for each in knocking]
        assert service.wait() == 0
    assert sum(answered for answered, _ in results) > KNOCKERS
    assert [failure for _, failures in results for failure in failures] == []


def test_who_waits_is_seen_and_who_comes_later_is_not_let_in() -> None:
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
        assert not has_pending_connections([listener])
        with socket.create_connection(address):
            assert has_pending_connections([listener])
            drop_new_syns([listener])
            accepted, _ = listener.accept()
            accepted.close()
            assert not has_pending_connections([listener])
        with socket.socket() as late:
            late.settimeout(0.3)  # with a time-out of the kernel's own, a signal would make it wait for minutes
            with pytest.raises(TimeoutError):
                late.connect(address)


def test_a_supervisor_takes_no_connection_that_no_worker_would_serve() -> None:
    def refused(port: int) -> bool:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    with (
        Supervised('[server]\ndrain = "300ms"\nworkers = 2\n') as service,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(service.get, "/sleep/6")
        wait_for("the slow request", lambda: connections(service.port) > 0)
        service.signal(signal.SIGTERM)
        wait_for("a closed door", lambda: refused(service.port))
        assert not slow.done(), "the door is closed while a worker still serves"
        assert slow.result() == "/sleep/6 0"
        assert service.wait() == 0
