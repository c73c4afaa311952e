"""A service on Unix sockets: addresses of clients, workers, SIGHUP, the end of the file."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.processes import wait_for
from tests.unix_service import UnixService, ask_unix
from tests.workers import SENDS_ITS_PID, stop, wait_for_new_workers, workers_of

DESCRIBE = """\
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    body = f"{scope['client']} {scope['scheme']} {scope['server']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
FORWARDED = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}


def test_forwarded_headers_of_a_unix_client_are_trusted_when_the_file_says_so() -> None:
    name = f"@scalekit-test-management-{os.getpid()}"
    more = f'trusted_proxies = ["unix"]\nsocket_mode = "0600"\nmanagement_address = "unix:{name}"\ndrain_delay = "0s"'
    with UnixService(more, {"service": DESCRIBE}) as service:
        assert service.get("/") == f"None http {(service.path, None)}"
        assert ask_unix(service.path, "/", FORWARDED).startswith("('192.0.2.1', 0) https")
        assert Path(service.path).stat().st_mode & 0o777 == 0o600
        assert '"phase":"ready"' in ask_unix(name, "/health")
        with pytest.raises(OSError, match="404"):
            ask_unix(name, "/")
        assert f"try: curl -i --unix-socket {service.path} http://localhost/" in service.log()
        assert f"try: curl --abstract-unix-socket {name[1:]} http://localhost/health" in service.log()
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert not Path(service.path).exists()


def test_forwarded_headers_are_ignored_without_the_word_unix_and_a_warning_names_it() -> None:
    with UnixService('drain_delay = "0s"', {"service": DESCRIBE}) as service:
        assert ask_unix(service.path, "/", FORWARDED).startswith("None http")
        service.wait_for_log('write trusted_proxies = ["unix"] in [server]')
    with UnixService('trusted_proxies = ["127.0.0.1"]\ndrain_delay = "0s"', {"service": DESCRIBE}) as service:
        assert ask_unix(service.path, "/", FORWARDED).startswith("None http")


def test_workers_are_replaced_and_stopped_without_a_failed_request() -> None:
    with UnixService('workers = 2\ndrain_delay = "500ms"', {"service": SENDS_ITS_PID}) as service:
        old = workers_of(service)
        done, failures = threading.Event(), list[str]()

        def load() -> None:
            while not done.is_set():
                try:
                    service.get("/")
                except FileNotFoundError:  # the file is removed before the workers stop
                    return
                except OSError as error:
                    failures.append(repr(error))

        clients = [threading.Thread(target=load) for _ in range(4)]
        for client in clients:
            client.start()
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 2)
        assert Path(service.path).is_socket()
        assert stop(service) == 0
        done.set()
        for client in clients:
            client.join()
        assert failures == []
        assert not Path(service.path).exists()


@pytest.mark.parametrize("workers", ["", "workers = 1"])
def test_a_killed_service_leaves_a_file_that_the_next_one_replaces(workers: str) -> None:
    with UnixService(f'{workers}\ndrain_delay = "0s"') as service:
        service.kill()
        assert Path(service.path).is_socket()
        service.start()
        wait_for("a response", lambda: service.get("/"))
        again = service.box.run(*service.command(), check=False)
        assert again.returncode == 1
        assert f"cannot listen on unix:{service.path}: another process listens there" in again.stderr
        assert service.get("/") == "/ 0"
