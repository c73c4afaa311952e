"""Every established connection gets a response until the listener closes."""

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

CLIENTS = 4
REQUEST = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody"


def request_until_refused(port: int) -> tuple[int, list[str]]:
    """Connect and send requests until connections are refused; return the count of responses and the failures."""
    responses = 0
    failed: list[str] = []
    while True:
        try:
            connection = socket.create_connection((HOST, port), timeout=60)
        except OSError:
            return responses, failed
        with connection:
            try:
                connection.sendall(REQUEST)
                response = connection.recv(1000)
            except OSError as error:
                response = repr(error).encode()
        if response.startswith(b"HTTP/1.1 200"):
            responses += 1
        else:
            failed.append(response.decode() or "closed without a response")


@pytest.mark.parametrize("kind", [Service, Supervised])
@pytest.mark.parametrize("attempt", range(3))
def test_every_accepted_connection_gets_a_response_until_the_listener_closes(kind: type[Service], attempt: int) -> None:
    workers = "workers = 2\n" if kind is Supervised else ""
    with kind(f'[server]\ndrain_delay = "300ms"\n{workers}') as service, ThreadPoolExecutor(CLIENTS) as pool:
        knocking = [pool.submit(request_until_refused, service.port) for _ in range(CLIENTS)]
        wait_for("the first response", lambda: service.get("/x") == "/x 0")
        service.signal(signal.SIGTERM)
        results = [each.result() for each in knocking]
        assert service.wait() == 0
    assert sum(responses for responses, _ in results) > CLIENTS
    assert [failure for _, failures in results for failure in failures] == []


def test_pending_connections_are_seen_and_new_ones_are_dropped() -> None:
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


def test_a_supervisor_accepts_no_connection_that_no_worker_would_serve() -> None:
    def refused(port: int) -> bool:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    with (
        Supervised('[server]\ndrain_delay = "300ms"\nworkers = 2\n') as service,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(service.get, "/sleep/6")
        wait_for("the slow request", lambda: connections(service.port) > 0)
        service.signal(signal.SIGTERM)
        wait_for("a closed door", lambda: refused(service.port))
        assert not slow.done(), "the door is closed while a worker still serves"
        assert slow.result() == "/sleep/6 0"
        assert service.wait() == 0
