"""The same, counted by a query budget that finds N+1 queries."""

from scalekit.host import Host
from tests.bench.cases import statements_uncounted
from tests.bench.cases.statements_uncounted import BODY, PATH

__all__ = ["BODY", "PATH"]


def make() -> Host:
    return statements_uncounted.make(repeat=10, statements=20)
