"""Listen on a Unix socket: a file that is replaced when its process is dead, or an abstract name (``@``)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress

from scalekit.file_lock import lock_file

PROBE_TIMEOUT = 1.0
"""Seconds to wait for the process that listens on an existing socket."""
LOCK_TIMEOUT = 2.0
"""Seconds to wait for another process that creates a socket in the same folder."""


class UnixListener(socket.socket):
    """A listening Unix socket that can remove its file; raises OSError when it cannot listen."""

    def __init__(self, name: str, mode: int, backlog: int) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(errno.EAFNOSUPPORT, "this platform has no Unix sockets")
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = ""
        self._identity: tuple[int, int] | None = None
        try:
            if name.startswith("@"):
                self.bind(f"\0{name[1:]}")
            else:
                self._bind_file(name, mode)
            self.listen(backlog)
        except BaseException:
            self.close()
            raise

    def _bind_file(self, path: str, mode: int) -> None:
        with _locked(os.path.dirname(path)):
            _remove_dead(path)
            self.bind(path)
            self._path = path
            self._identity = _identity(path)
            os.chmod(path, mode)  # before it listens, so that no other client can connect
            self.listen(1)

    def remove_file(self) -> None:
        """Remove the file, unless it is another process's by now; established connections continue."""
        with suppress(OSError):
            if self._identity is not None and _identity(self._path) == self._identity:
                os.unlink(self._path)
        self._identity = None


def is_unix(listener: socket.socket) -> bool:
    """Return whether *listener* is a Unix socket, which Windows does not have."""
    return listener.family == getattr(socket, "AF_UNIX", None)


def remove_files(listeners: Sequence[socket.socket]) -> None:
    """Remove the files of those *listeners* that have created one."""
    for each in listeners:
        if isinstance(each, UnixListener):
            each.remove_file()


def socket_name(listener: socket.socket) -> str:
    """Return the path of a Unix socket, or its abstract name after ``@``."""
    name = listener.getsockname()
    return name if isinstance(name, str) else f"@{name[1:].decode('utf-8', 'surrogateescape')}"


def unix_server(transport: asyncio.BaseTransport) -> tuple[str, None] | None:
    """Return ``server`` of the ASGI scope for a connection to a Unix socket, None for another one."""
    connection = transport.get_extra_info("socket")
    return (socket_name(connection), None) if connection is not None and is_unix(connection) else None


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


@contextmanager
def _locked(folder: str) -> Generator[None, None, None]:
    """Hold the lock of *folder*: of two processes that start at once, one would remove the other's socket."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + LOCK_TIMEOUT
        while not _lock(descriptor) and time.monotonic() < end:
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        lock_file(descriptor, wait=False)
    except OSError:  # held, or the file system has no locks
        return False
    return True


def _remove_dead(path: str) -> None:
    """Remove the socket of a dead process; raises OSError when a process listens, or *path* is another file."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "a file that is not a socket has this path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except (BlockingIOError, TimeoutError):  # its accept queue is full
            pass
    raise OSError(errno.EADDRINUSE, "another process listens there")
