"""Print the spans of each request as a tree, to the terminal or pipe that all workers share."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager

from scalekit.file_lock import lock_file
from scalekit.telemetry.finished_span import FinishedSpan
from scalekit.telemetry.span_redactor import SpanRedactor
from scalekit.telemetry.trace_tree import trace_tree

CHUNK = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes at once; 512 is the minimum of POSIX, for platforms that do not say."""


class TracePrinter:
    """Prints trees to the standard error stream, one after the other over all processes that have the same *file*."""

    def __init__(self, file: str, redactor: SpanRedactor) -> None:
        self._file = file
        self._redactor = redactor

    def __call__(self, spans: Sequence[FinishedSpan]) -> None:
        """Print the tree of *spans*."""
        with _locked(self._file):
            for chunk in _chunks(trace_tree(spans, self._redactor)):
                sys.stderr.write(chunk)
                sys.stderr.flush()


@contextmanager
def _locked(file: str) -> Generator[None, None, None]:
    """Hold the lock of *file* while inside; without one when it cannot be locked, as on some network file systems."""
    descriptor = None
    try:
        descriptor = os.open(file, os.O_RDONLY)
        lock_file(descriptor)
    except OSError:
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _chunks(lines: Iterable[str]) -> Iterator[str]:
    """Yield *lines* in whole lines of at most PIPE_BUF bytes, which a log line of another process does not break."""
    chunk: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode("utf-8", "replace")) + 1
        if chunk and size + length > CHUNK:
            yield "".join(chunk)
            chunk, size = [], 0
        chunk.append(f"{line}\n")
        size += length
    yield "".join(chunk)
