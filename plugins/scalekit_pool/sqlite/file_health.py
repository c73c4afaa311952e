"""Check whether a SQLite file is writable."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from scalekit_pool.connections.driver import WriteRefusal

MIN_FREE_BYTES = 64 * 1024
"""Free bytes of the disk below which writes are expected to fail."""
WRITE_INTERVAL = 5.0
"""Seconds between two test writes of one page."""


class FileId(NamedTuple):
    """The identity of a file, independent of its name."""

    device: int
    inode: int


def file_id_of(file: str) -> FileId | None:
    """Return the identity of *file*, or None if it does not exist."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return FileId(found.st_dev, found.st_ino)


class FileHealth:
    """Whether *file* is writable; one that others lock counts as writable for *lock_timeout* seconds."""

    def __init__(self, file: str, lock_timeout: float) -> None:
        self._file = file
        self._lock_timeout = lock_timeout
        self._locked_since: float | None = None
        self._written = -WRITE_INTERVAL

    def refusal(self, raw: sqlite3.Connection, opened: FileId | None, force: bool) -> WriteRefusal | None:
        """Return why *raw*, a connection to the file *opened*, takes no writes, or None; runs in its thread.

        With *force*, or after WRITE_INTERVAL, a test write is made.
        """
        if opened is not None and file_id_of(self._file) != opened:
            return WriteRefusal(f"{self._file!r} was deleted or replaced while it was open; restore it", True)
        full = self._fullness(raw)
        if full:
            return WriteRefusal(full, False)
        if not force and monotonic() - self._written < WRITE_INTERVAL:
            return None
        refusal = self._write(raw)
        self._written = monotonic() if refusal is None else -WRITE_INTERVAL
        return refusal

    def _fullness(self, raw: sqlite3.Connection) -> str:
        max_pages, pages, free = (_number(raw, name) for name in ("max_page_count", "page_count", "freelist_count"))
        if pages >= max_pages and not free:
            return f"{self._file!r} is full: max_page_count allows {max_pages} pages"
        if sys.platform == "win32":
            return ""
        disk = os.statvfs(Path(self._file).absolute().parent)
        available = (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize
        if disk.f_blocks and available < MIN_FREE_BYTES:
            return f"the disk of {self._file!r} is full: {available} bytes available; free space"
        return ""

    def _write(self, raw: sqlite3.Connection) -> WriteRefusal | None:
        """Write the first page unchanged: 4 KiB of write-ahead log, without fsync."""
        lock_timeout = _number(raw, "busy_timeout")
        raw.execute("PRAGMA busy_timeout = 0")
        try:
            raw.execute("BEGIN IMMEDIATE")
            raw.execute(f"PRAGMA user_version = {_number(raw, 'user_version')}")
            raw.execute("COMMIT")
            self._locked_since = None
        except sqlite3.Error as error:
            return self._refusal_of(error)
        finally:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raw.execute(f"PRAGMA busy_timeout = {lock_timeout}")
        return None

    def _refusal_of(self, error: sqlite3.Error) -> WriteRefusal | None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return WriteRefusal(f"{self._file!r} is not writable: {error}", code == sqlite3.SQLITE_READONLY)
        now = monotonic()
        self._locked_since = self._locked_since or now
        locked = now - self._locked_since
        if locked < self._lock_timeout:
            return None
        return WriteRefusal(f"{self._file!r} locked by another process for {locked:.0f} s", False)


def _number(raw: sqlite3.Connection, pragma: str) -> int:
    return int(raw.execute(f"PRAGMA {pragma}").fetchone()[0])
