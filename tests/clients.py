"""Minimal blocking clients of Redis and PostgreSQL: one connection per call, and no process."""

from __future__ import annotations

from collections.abc import Iterator
from socket import create_connection
from struct import pack, unpack
from typing import BinaryIO

from tests.processes import HOST

PROTOCOL_3 = 3 << 16


class StatementError(OSError):
    """PostgreSQL rejected a statement or the login."""


def redis_reply(port: int, *words: object, password: str = "", timeout: float = 10.0) -> str:
    """Send one command and return its reply as ``redis-cli`` prints it: one element per line, errors as text."""
    login = _command("AUTH", password) if password else b""
    with create_connection((HOST, port), timeout) as connection, connection.makefile("rb") as stream:
        connection.sendall(login + _command(*words))
        if login:
            _reply(stream)
        return _reply(stream).strip()


def _command(*words: object) -> bytes:
    parts = [str(word).encode("utf-8", "surrogateescape") for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _reply(stream: BinaryIO) -> str:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection before its reply")
    kind, value = line[:1], line[1:-2]
    if kind == b"*":
        return "\n".join(_reply(stream) for _ in range(int(value)))
    if kind == b"$":
        return "" if value == b"-1" else _exactly(stream, int(value) + 2)[:-2].decode("utf-8", "surrogateescape")
    return value.decode()


def rows(port: int, query: str, timeout: float = 60.0) -> str:
    """Run statements as the superuser and return their rows as ``psql`` prints them: columns between bars."""
    login = pack(">I", PROTOCOL_3) + b"user\0postgres\0database\0postgres\0\0"
    with create_connection((HOST, port), timeout) as connection, connection.makefile("rb") as stream:
        connection.sendall(pack(">I", len(login) + 4) + login)
        list(_messages(stream))
        text = query.encode() + b"\0"
        connection.sendall(b"Q" + pack(">I", len(text) + 4) + text)
        lines = [_columns(body) for kind, body in _messages(stream) if kind == b"D"]
        connection.sendall(b"X" + pack(">I", 4))
    return "\n".join(lines).strip()


def _messages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Read until the server is ready for the next statement."""
    while True:
        kind, size = unpack(">cI", _exactly(stream, 5))
        body = _exactly(stream, size - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:].decode() for field in body.split(b"\0")}
            raise StatementError(f"{fields[b'S']}: {fields[b'M']}")
        if kind == b"R" and body != pack(">I", 0):
            raise StatementError("the server requires a password")
        if kind == b"Z":
            return
        yield kind, body


def _columns(row: bytes) -> str:
    (count,), offset, columns = unpack(">H", row[:2]), 2, []
    for _ in range(count):
        (size,) = unpack(">i", row[offset : offset + 4])
        offset += 4 + max(0, size)
        columns.append(row[offset - max(0, size) : offset].decode())
    return "|".join(columns)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ConnectionResetError("the server closed the connection before its reply")
    return data
