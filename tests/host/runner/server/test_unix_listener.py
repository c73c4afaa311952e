from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from scalekit import StartError
from scalekit.runner.server.listener_drain import drop_new_syns, has_pending_connections
from scalekit.runner.server.listeners import bind, bound_address
from scalekit.runner.server.unix_listener import UnixListener, remove_files
from tests.processes import Box


@pytest.fixture
def path() -> object:
    with Box("unix") as box:
        yield box.directory / "app.sock"


def listen(path: Path, mode: int = 0o660, backlog: int = 5) -> UnixListener:
    listener = bind(f"unix:{path}", 0, backlog, mode)
    assert isinstance(listener, UnixListener)
    return listener


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(path))
    return client


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_file_has_its_mode_whatever_the_umask(path: Path, mode: int) -> None:
    mask = os.umask(0o077)
    try:
        with listen(path, mode) as listener:
            assert path.stat().st_mode & 0o777 == mode
            assert bound_address(listener) == (f"unix:{path}", 0)
    finally:
        os.umask(mask)


def test_the_socket_of_a_dead_process_is_replaced(path: Path) -> None:
    listen(path).close()  # leaves the file, as a killed process does
    assert path.is_socket()
    with listen(path) as listener, connect(path):
        listener.accept()[0].close()


@pytest.mark.parametrize("connections", [0, 5])
def test_a_listening_process_is_refused_even_with_a_full_queue(path: Path, connections: int) -> None:
    with listen(path, backlog=1):
        waiting = []
        for _ in range(connections):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            client.connect_ex(str(path))
        with pytest.raises(StartError, match="another process listens there; stop the process that listens there"):
            listen(path)
        assert path.is_socket()
        for client in waiting:
            client.close()


def test_a_file_that_is_no_socket_and_a_missing_folder_are_errors_and_stay(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(StartError, match="a file that is not a socket has this path; choose a path"):
        listen(path)
    assert path.read_text() == "precious"
    with pytest.raises(StartError, match="No such file or directory; choose a path"):
        listen(path.parent / "missing" / "app.sock")
    path.unlink()
    path.symlink_to("elsewhere")
    with pytest.raises(StartError, match="a file that is not a socket"):
        listen(path)


def test_only_the_own_file_is_removed(path: Path) -> None:
    first = listen(path)
    first.close()
    with listen(path) as second:
        remove_files([first])
        assert path.is_socket(), "it is the second's"
        remove_files([second, second])
        assert not path.exists()


def test_an_abstract_name_has_no_file() -> None:
    name = f"@scalekit-test-{os.getpid()}"
    with bind(f"unix:{name}", 0, 5) as listener:
        assert bound_address(listener) == (f"unix:{name}", 0)
        with pytest.raises(StartError, match=f"cannot listen on unix:{name}: Address already in use"):
            bind(f"unix:{name}", 0, 5)
        remove_files([listener])


def test_a_pending_connection_is_seen(path: Path) -> None:
    with listen(path) as listener:
        drop_new_syns([listener])
        assert not has_pending_connections([listener])
        with connect(path):
            assert has_pending_connections([listener])
            listener.accept()[0].close()
            assert not has_pending_connections([listener])
