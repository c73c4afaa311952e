"""Limit the number of statements that a test may run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from scalekit.contracts import STATEMENT_LOG


@contextmanager
def query_budget(limit: int) -> Generator[list[str], None, None]:
    """Raise AssertionError when more than *limit* statements run inside; yield the list of those that have run.

    For example, in a test of pytest::

        with query_budget(5):
            await client.get("/orders")

    The statements are texts without values. Requests to an application in this process count when they are sent inside
    the block.
    """
    statements: list[str] = []
    token = STATEMENT_LOG.set(statements)
    try:
        yield statements
    finally:
        STATEMENT_LOG.reset(token)
    if len(statements) > limit:
        counts = "\n".join(f"{number} x {text}" for text, number in Counter(statements).most_common())
        raise AssertionError(f"{len(statements)} statements ran, more than {limit}:\n{counts}")
