"""Find out whether a SQLite file can be written to."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from scalekit_pool.driver import Refusal

LEAST_ROOM = 64 * 1024
"""Bytes on the disk below which a write is not to be expected to succeed."""
WRITE_INTERVAL = 5.0
"""Seconds between two writes of one page, which are made to see that they succeed."""


class FileId(NamedTuple):
    """What tells a file from another one under the same name."""

    device: int
    inode: int


def id_of(file: str) -> FileId | None:
    """Return the id of *file*, or None where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return FileId(found.st_dev, found.st_ino)


class FileHealth:
    """Whether *file* takes writes; one that others lock counts as one that does for *patience* seconds."""

    def __init__(self, file: str, patience: float) -> None:
        self._file = file
        self._patience = patience
        self._locked_since: float | None = None
        self._written = -WRITE_INTERVAL

    def refusal(self, raw: sqlite3.Connection, opened: FileId | None, in_doubt: bool) -> Refusal | None:
        """Return why *raw*, a connection to the file *opened*, takes no writes, or None; runs in its thread.

        Where that is *in_doubt*, or has not been done for a while, it is written to.
        """
        if opened is not None and id_of(self._file) != opened:
            return Refusal(f"{self._file!r} was deleted or replaced while it was open; put it back", True)
        full = self._fullness(raw)
        if full:
            return Refusal(full, False)
        if not in_doubt and monotonic() - self._written < WRITE_INTERVAL:
            return None
        refusal = self._write(raw)
        self._written = monotonic() if refusal is None else -WRITE_INTERVAL
        return refusal

    def _fullness(self, raw: sqlite3.Connection) -> str:
        most, pages, free = (_number(raw, name) for name in ("max_page_count", "page_count", "freelist_count"))
        if pages >= most and not free:
            return f"{self._file!r} is full: it has the {most} pages that max_page_count allows"
        disk = os.statvfs(Path(self._file).absolute().parent)
        room = (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize
        if disk.f_blocks and room < LEAST_ROOM:
            return f"the disk of {self._file!r} is full: {room} bytes are left; make room"
        return ""

    def _write(self, raw: sqlite3.Connection) -> Refusal | None:
        """Write the first page as it is: 4 KiB of the write-ahead log, not forced to the disk."""
        patience = _number(raw, "busy_timeout")
        raw.execute("PRAGMA busy_timeout = 0")
        try:
            raw.execute("BEGIN IMMEDIATE")
            raw.execute(f"PRAGMA user_version = {_number(raw, 'user_version')}")
            raw.execute("COMMIT")
            self._locked_since = None
        except sqlite3.Error as error:
            return self._told(error)
        finally:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raw.execute(f"PRAGMA busy_timeout = {patience}")
        return None

    def _told(self, error: sqlite3.Error) -> Refusal | None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Refusal(f"{self._file!r} cannot be written to: {error}", code == sqlite3.SQLITE_READONLY)
        now = monotonic()
        self._locked_since = self._locked_since or now
        locked = now - self._locked_since
        if locked < self._patience:
            return None
        return Refusal(f"{self._file!r} has been locked by another process for {locked:.0f} s", False)


def _number(raw: sqlite3.Connection, pragma: str) -> int:
    return int(raw.execute(f"PRAGMA {pragma}").fetchone()[0])
