from __future__ import annotations

from scalekit_console.route_statistics import MAX_ROUTES, OTHER, OTHER_METHOD, ROTATION, RouteStatistics


def test_routes_are_bounded_and_unknown_methods_are_one() -> None:
    statistics = RouteStatistics()
    for number in range(2 * MAX_ROUTES):
        statistics.add(f"M{number}", "/").errors += 1
        statistics.add("GET", f"/{number}").errors += 1
    errors = {(method, route): count for method, route, count, _ in statistics.describe()}
    assert errors[OTHER_METHOD, "/"] == 2 * MAX_ROUTES
    assert errors[OTHER] == MAX_ROUTES + 1
    assert len(errors) == MAX_ROUTES + 1


def test_older_counts_are_forgotten_in_two_steps() -> None:
    statistics = RouteStatistics()
    statistics.rotate(ROTATION)
    statistics.add("GET", "/").buckets[7] = 1
    statistics.rotate(2 * ROTATION - 1)
    assert statistics.figures
    statistics.rotate(2 * ROTATION)
    statistics.add("GET", "/").buckets[7] = 2
    assert statistics.describe() == [["GET", "/", 0, {"7": 1}], ["GET", "/", 0, {"7": 2}]]
    statistics.rotate(3 * ROTATION)
    assert statistics.describe() == [["GET", "/", 0, {"7": 2}]]
