from __future__ import annotations

from scalekit.pages import Badge, DataTable
from scalekit_pool.metrics import BUCKETS
from scalekit_pool.pages.tables import connection_tables, replica_tables, statement_table


def pool(**figures: object) -> dict[str, object]:
    waits = [0] * (len(BUCKETS) + 1)
    return {"in_use": 1, "max": 4, "idle": 1, "waiting": 0, "waits": waits, "refused": 0, **figures}


def test_connections_are_added_up() -> None:
    slow, fast = ([0, 9, *[0] * 13], [0, 0, 0, 0, 91, *[0] * 10])
    workers = {
        "1": {"pools": {"primary": pool(in_use=4, idle=0, waiting=3, waits=slow, refused=1)}},
        "2": {"pools": {"primary": pool(waits=fast), "other": pool()}},
    }
    total, single = connection_tables(workers)
    assert isinstance(total, DataTable)
    assert isinstance(single, DataTable)
    assert total.rows[0][:7] == ("primary", 5 / 8, 5, 8, 1, 3, 100)
    assert total.rows[0][8] == 1
    assert [row[:3] for row in single.rows] == [("1", "primary", 1.0), ("2", "primary", 0.25), ("2", "other", 0.25)]


def test_statements_of_workers_are_merged_and_the_slowest_shown() -> None:
    def worker(factor: int) -> dict[str, object]:
        found = [[f"{n}", "primary", f"SELECT {n}", n, n * factor, factor, n, 1, n == 99] for n in range(1, 100)]
        return {"statements": found, "seconds": 5000 * factor}

    table = statement_table({"1": worker(1), "2": worker(3)})
    assert (len(table.rows), table.more) == (50, 49)
    pool, text, count, seconds, share, mean, longest, rows, errors, link = table.rows[0]
    assert (pool, text, count, seconds, longest, rows, errors) == ("primary", "SELECT 99", 198, 396, 3, 198, 2)
    assert (share, mean) == (396 / 20000, 2)
    assert link is not None
    assert table.rows[1][-1] is None


def test_a_replica_is_excluded_in_some_workers() -> None:
    def worker(reason: str, lag: float | None, reads: int) -> dict[str, object]:
        status = {"name": "one", "exclusion_reason": reason, "lag": lag, "lag_bytes": 7, "reads": reads}
        return {"replicas": [status], "fallbacks": {"behind": 10}}

    total, single, _ = replica_tables({"1": worker("", 0.5, 50), "2": worker("no response", None, 30)})
    assert isinstance(total, DataTable)
    assert isinstance(single, DataTable)
    name, state, lag, lag_bytes, reads, share, reason = total.rows[0]
    assert isinstance(state, Badge)
    assert state.text == "excluded in 1 of 2 workers"
    assert (name, lag, lag_bytes, reads, share, reason) == ("one", None, 7, 80, 0.8, "no response")
    assert [row[6] for row in single.rows] == [50 / 60, 30 / 40]
