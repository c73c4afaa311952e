"""A short drill, and the rules by which it fails."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.drill.fault_runner import Found, Outcome, unexpected
from tests.drill.faults import DATA, Fault
from tests.drill.load import Response
from tests.drill.production import drilled
from tests.drill.report import mistakes, report

GOOD = Response(moment=1.0, seconds=0.01, kind="read", status=200, says_when=False, item="")
REFUSED = replace(GOOD, status=503, says_when=True)
CUT = replace(GOOD, status=0)


@pytest.mark.needs("consul", "k6", "nginx", "postgres", "rabbitmq", "redis", "slowhttptest")
def test_faults_lose_nothing_and_only_requests_that_need_the_server_are_rejected() -> None:
    found = drilled(hold=0.5, rate=40)
    print(report(found))
    assert not [(each.fault, each.unexpected) for each in found.outcomes if each.unexpected]
    assert found.lost_rows == found.lost_messages == 0
    assert found.written > 40
    assert len(found.outcomes) >= 11
    assert found.page.count("<svg") >= 3


@pytest.mark.parametrize(
    ("responses", "wrong"),
    [
        ([GOOD, REFUSED], 0),
        ([replace(REFUSED, kind="plain")], 1),
        ([replace(REFUSED, says_when=False)], 1),
        ([replace(GOOD, status=500)], 1),
        ([CUT], 0),
        ([CUT, replace(CUT, moment=2.0)], 1),
        ([replace(CUT, status=502)], 0),
    ],
)
def test_unexpected_responses_are_counted(responses: list[Response], wrong: int) -> None:
    fault = Fault("the database is unavailable", takes=DATA, cuts=1)
    assert len(unexpected(fault, responses)) == wrong


def test_the_report_has_a_line_for_each_fault_and_names_missed_goals() -> None:
    fine = Outcome("nothing", [GOOD] * 9 + [REFUSED], [], 0.0125, 0.0, 0, 0, "healthy")
    slow = Outcome("slow", [GOOD], [CUT], 0.5, 3.1, 2, 1, "pool unhealthy")
    page = report(Found([fine, slow], 7, 2, 1, ""))
    assert "| nothing | 10 | 10.0% | none | 12 ms | 0.0 s | 0 | 0 | healthy |" in page
    assert "| slow | 1 | 0.0% | 1 of read 0 | 500 ms | 3.1 s | 2 | 1 | pool unhealthy |" in page
    assert re.search(r"Of 7 writes .* 2 rows and 1 messages were\slost", page)
    assert mistakes(Found([fine], 7, 0, 0, "")) == []
    assert mistakes(Found([fine, slow], 7, 2, 1, "")) == [
        "slow: 1 unexpected errors",
        "slow: healed after 3.1 s",
        "2 rows were lost",
        "1 messages were lost",
    ]
