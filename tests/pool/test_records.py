from __future__ import annotations

from scalekit_pool.query_budget import QueryFinding
from scalekit_pool.records import MAX_FINDINGS, DatabaseRecords


def finding(number: int) -> QueryFinding:
    return QueryFinding("primary", f"/items/{number}", "SELECT ?", "one statement too often", "service.py:7 in item")


def test_the_latest_findings_are_kept() -> None:
    records = DatabaseRecords()
    for number in range(MAX_FINDINGS):
        records.add_finding(finding(number))
    records.add_finding(finding(0))
    records.add_finding(finding(MAX_FINDINGS))
    assert len(records.findings) == MAX_FINDINGS
    assert records.findings[finding(0)][0] == 2
    assert finding(1) not in records.findings
