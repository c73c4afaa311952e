from __future__ import annotations

from scalekit_console.durations import duration_bucket
from scalekit_console.route_statistics import MAX_ROUTES, OTHER, OTHER_METHOD, ROTATION, RouteStatistics


def test_routes_are_bounded_and_unknown_methods_are_one() -> None:
    statistics = RouteStatistics()
    for number in range(2 * MAX_ROUTES):
        statistics.add_failed([(f"M{number}", "/", 0.1), ("GET", f"/{number}", 0.1)])
    errors = {(method, route): count for method, route, count, _ in statistics.describe()}
    assert errors[OTHER_METHOD, "/"] == 2 * MAX_ROUTES
    assert errors[OTHER] == MAX_ROUTES + 1
    assert len(errors) == MAX_ROUTES + 1


def test_older_counts_are_forgotten_in_two_steps() -> None:
    statistics = RouteStatistics()
    bucket = str(duration_bucket(0.1))
    statistics.rotate(ROTATION)
    statistics.add([("GET", "/", 0.1)], 1)
    statistics.rotate(2 * ROTATION - 1)
    assert len(statistics.describe()) == 1
    statistics.rotate(2 * ROTATION)
    statistics.add([("GET", "/", 0.1)] * 2, 2)
    assert statistics.describe() == [["GET", "/", 0, {bucket: 1}], ["GET", "/", 0, {bucket: 2}]]
    statistics.rotate(3 * ROTATION)
    assert statistics.describe() == [["GET", "/", 0, {bucket: 2}]]


def test_a_sample_stands_for_all() -> None:
    statistics = RouteStatistics()
    statistics.add([("GET", "/", 0.1)] * 2, 5)
    statistics.add([], 5)
    assert statistics.describe() == [["GET", "/", 0, {str(duration_bucket(0.1)): 5.0}]]
