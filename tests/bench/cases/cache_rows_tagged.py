"""The same with the tables that it was made from as its tags."""

from tests.bench.cases import cache_rows
from tests.bench.cases.cache_none import Asking
from tests.bench.cases.cache_rows import BODY, PATH

__all__ = ["BODY", "PATH"]


def make() -> Asking:
    return cache_rows.make(tags_from_sql=True)
