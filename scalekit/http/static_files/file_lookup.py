"""Find and open the file that a path names, inside its folders only. All of this blocks: it runs in a thread."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from scalekit.errors import Unavailable
from scalekit.http.content_codings import choose_coding

INDEX = "index.html"
MAX_PATH = 4096
"""Characters of the longest path that is looked up, that of Linux; resolving a longer one takes quadratic time."""
SIDECARS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""The extension of a compressed file beside the original by its content coding, the preferred one first."""
NOT_FOUND = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EINVAL}
)
"""Errors by which a path names no file that this process may read; others are failures of the machine."""
IS_SUPPORTED = sys.platform != "win32"
"""Windows has no way to open a file without following links, and other names for each file."""
if sys.platform != "win32":
    OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block the thread


class FileChanged(Unavailable):
    """A file was written to while it was sent."""


class OpenFile:
    """An open file of *path*; *coding* is the one in which it is stored, *varies* whether there are others.

    It is closed with its last reference at the latest: a thread may open or read it after its request was cancelled.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = -1
        self._descriptor = os.open(path, OPEN_FLAGS)
        self.path = path
        self.stat = os.fstat(self._descriptor)
        self.coding = ""
        self.varies = False

    @property
    def is_regular(self) -> bool:
        """Whether it is a file with content, not a folder, pipe or device."""
        return stat.S_ISREG(self.stat.st_mode)

    def read(self, start: int, size: int) -> bytes:
        """Return *size* bytes from *start*; raises FileChanged when the file is not what it was when it was opened."""
        data = os.pread(self._descriptor, size, start)
        now = os.fstat(self._descriptor)
        if len(data) < size or (now.st_mtime_ns, now.st_size) != (self.stat.st_mtime_ns, self.stat.st_size):
            raise FileChanged(f"the file {self.path!r} was written to while it was sent; replace files by renaming")
        return data

    def close(self) -> None:
        """Close the file, once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close


class FileLookup:
    """Opens files below *folders*, the first that has one."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders

    def open(self, path: str, accept_encoding: str) -> OpenFile | None:
        """Return the file of *path*, or its compressed form that the client prefers; None when there is none.

        *path* begins with a slash; one that ends with a slash names the index of a folder.
        """
        segments = _segments(path)
        found = self._open_first(segments) if segments else None
        return None if found is None else _negotiate(found, accept_encoding)

    def has_index(self, path: str) -> bool:
        """Return whether *path*, without a trailing slash, is a folder with an index."""
        return self.open(f"{path}/", "") is not None

    def _open_first(self, segments: Sequence[str]) -> OpenFile | None:
        for path in self._candidates(segments):
            file = _open(path)
            if file is not None and file.is_regular:
                return file
        return None

    def _candidates(self, segments: Sequence[str]) -> Iterator[str]:
        """Yield the path in each folder, unless symbolic links lead out of the folder."""
        for folder in self._folders:
            root = os.path.realpath(folder)
            path = os.path.realpath(os.path.join(root, *segments))
            if os.path.commonpath((root, path)) == root:
                yield path


def _segments(path: str) -> list[str]:
    """Return the segments of *path*, empty when one of them never names a file that is served."""
    *parents, name = path.split("/")[1:]
    segments = [*parents, name or INDEX]
    return segments if len(path) <= MAX_PATH and all(map(_is_name, segments)) else []


def _is_name(segment: str) -> bool:
    """Return whether *segment* is a name, not hidden, and the same on every file system."""
    if not segment or segment.startswith(".") or "\\" in segment or not segment.isprintable():
        return False
    with suppress(UnicodeEncodeError):
        return bool(segment.encode())
    return False


def _open(path: str) -> OpenFile | None:
    try:
        return OpenFile(path)
    except OSError as error:
        if error.errno in NOT_FOUND:
            return None
        raise Unavailable(f"opening the file {path!r} failed: {error.strerror}") from error


def _negotiate(file: OpenFile, accept_encoding: str) -> OpenFile:
    """Return *file* or the one beside it in the coding that the client prefers."""
    codings = [coding for coding, extension in SIDECARS.items() if _is_current(file.path + extension, file.stat)]
    if not codings:
        return file
    file.varies = True
    coding = choose_coding(accept_encoding, codings)
    other = _open(file.path + SIDECARS[coding]) if coding else None
    if other is None or not other.is_regular:
        return file
    other.coding, other.varies = coding, True
    file.close()
    return other


def _is_current(path: str, original: os.stat_result) -> bool:
    """Return whether *path* is a file that is not older than its *original*."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and int(found.st_mtime) >= int(original.st_mtime)
