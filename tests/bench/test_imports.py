from __future__ import annotations

import pytest

from tests.bench.imports import import_time

REPORT = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   zipimport
import time:      1400 |       1500 | encodings
2026-11-30 INFO serving
"""


def test_the_import_time_is_the_sum_of_all_modules_in_milliseconds() -> None:
    assert import_time(REPORT) == 1.5


def test_a_report_without_import_times_is_refused() -> None:
    with pytest.raises(ValueError, match="no import times"):
        import_time("Traceback")
