"""Minimal blocking clients of Redis, PostgreSQL and MariaDB: one connection per call, and no process."""

from __future__ import annotations

from collections.abc import Iterator
from socket import create_connection
from struct import pack, unpack
from typing import BinaryIO

from tests.processes import HOST

PROTOCOL_3 = 3 << 16
MARIADB_CAPABILITIES = 0x000B_A201
"""Protocol 4.1, transactions, several statements and results, and the name of the authentication plugin."""
MORE_RESULTS = 0x0008


class StatementError(OSError):
    """The database rejected a statement or the login."""


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


def mariadb_rows(port: int, query: str, timeout: float = 60.0) -> str:
    """Run statements as the user root without password and return their rows: columns between bars."""
    login = pack("<IIB23x", MARIADB_CAPABILITIES, 1 << 24, 45) + b"root\0\0mysql_native_password\0"
    with create_connection((HOST, port), timeout) as connection, connection.makefile("rb") as stream:
        _packet(stream)
        connection.sendall(_framed(login, 1))
        _packet(stream)
        connection.sendall(_framed(b"\x03" + query.encode(), 0))
        lines: list[str] = []
        while _result(stream, lines) & MORE_RESULTS:
            pass
    return "\n".join(lines).strip()


def _framed(payload: bytes, number: int) -> bytes:
    return pack("<I", len(payload))[:3] + bytes([number]) + payload


def _packet(stream: BinaryIO) -> bytes:
    (size,) = unpack("<I", _exactly(stream, 4)[:3] + b"\0")
    payload = _exactly(stream, size)
    if payload[:1] == b"\xff":
        raise StatementError(payload[9:].decode())
    return payload


def _result(stream: BinaryIO, lines: list[str]) -> int:
    """Read one result, add its rows to *lines*, and return the status of the server."""
    first = _packet(stream)
    if first[0] == 0:
        _, offset = _number(first, 1)
        _, offset = _number(first, offset)
        return int(unpack("<H", first[offset : offset + 2])[0])
    for _ in range(first[0] + 1):  # the columns and the end of them
        _packet(stream)
    while (row := _packet(stream))[:1] != b"\xfe" or len(row) > 8:
        lines.append("|".join(_texts(row)))
    return int(unpack("<H", row[3:5])[0])


def _texts(row: bytes) -> Iterator[str]:
    offset = 0
    while offset < len(row):
        size, offset = _number(row, offset)
        yield row[offset : offset + size].decode()
        offset += size


def _number(data: bytes, offset: int) -> tuple[int, int]:
    """Return the length-encoded number at *offset*, 0 for NULL, and the offset after it."""
    first = data[offset]
    width = {251: 0, 252: 2, 253: 3, 254: 8}.get(first)
    if width is None:
        return first, offset + 1
    return int.from_bytes(data[offset + 1 : offset + 1 + width], "little"), offset + 1 + width


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ConnectionResetError("the server closed the connection before its reply")
    return data
