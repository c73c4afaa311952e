from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from scalekit import create_app
from scalekit.errors import PluginError, ResourceError
from scalekit.telemetry import TELEMETRY, Counter, Gauge, Histogram, NullTelemetry, Telemetry
from scalekit.telemetry.snapshot import LabelValues, MetricFamily, Snapshot, decode, encode
from scalekit.telemetry.worker_totals import Totals
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.host.asgi import http_scope
from tests.plugin_source import Install

EXPORTER = """
from contextlib import asynccontextmanager
from scalekit import Lifespan, hookimpl

@asynccontextmanager
async def run():
    yield

@hookimpl
def scalekit_lifespan(context):
    return Lifespan(run, series_budget=10)
"""

GREETED = Counter("greeted", "Guests greeted.", ("how",))
WAITING = Gauge("waiting", "Guests waiting.")
OLDEST = Gauge("oldest", "Age of the oldest guest.", multiprocess_mode="max")
NEWEST = Gauge("newest", "Age of the newest guest.", multiprocess_mode="min")
RESIDENT = Gauge("resident", "Guests in the house.", ("floor",), multiprocess_mode="all")
STAYED = Histogram("stayed", "How long guests stayed.", buckets=(1.0, 2.0))


def recorded(budget: int = 10) -> Telemetry:
    telemetry = Telemetry(budget)
    telemetry.series(GREETED, "hello").inc()
    telemetry.series(WAITING).set(3)
    telemetry.series(OLDEST).set(70)
    telemetry.series(NEWEST).set(20)
    telemetry.series(RESIDENT, "first").set(2)
    for seconds in (0.5, 1.0, 1.5, 9.0):
        telemetry.series(STAYED).observe(seconds)
    return telemetry


def test_a_series_is_created_once() -> None:
    telemetry = Telemetry(10)
    assert telemetry.series(GREETED, "hello") is telemetry.series(GREETED, "hello")
    assert telemetry.series(GREETED, "hello") is not telemetry.series(GREETED, "good day")


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    assert recorded().snapshot().families["stayed"].data[()] == [12.0, [2, 1, 1], {}]


def test_beyond_the_budget_everything_is_one_series_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry(2)
    for number in range(100):
        telemetry.series(GREETED, f"word {number}").inc()
    data = telemetry.snapshot().families["greeted"].data
    assert data == {("word 0",): 1, ("word 1",): 1, ("other",): 98}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "'how'" in warning
    assert "greeted" in warning


def test_two_different_declarations_of_one_metric_are_refused() -> None:
    telemetry = Telemetry(10)
    telemetry.series(GREETED, "hello")
    with pytest.raises(PluginError, match="greeted"):
        telemetry.series(Counter("greeted", "Something else."))
    telemetry.series(Counter("greeted", "Guests greeted.", ("how",)), "hello")


def test_a_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        Telemetry(10).series(GREETED)


@pytest.mark.parametrize(
    ("name", "labels"), [("has blank", ()), ("ends_total", ()), ("9lives", ()), ("good", ("le",)), ("good", ("__x",))]
)
def test_names_that_prometheus_refuses_are_refused(name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        Counter(name, "Help.", labels)


@pytest.mark.parametrize("buckets", [(), (2.0, 1.0), (1.0, 1.0)])
def test_buckets_must_be_ascending(buckets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="buckets must be non-empty and ascending"):
        Histogram("good", "Help.", buckets=buckets)


def test_callbacks_and_collectors_run_while_they_are_registered() -> None:
    telemetry = Telemetry(10)
    series = telemetry.series(WAITING)
    foreign = {"foreign": MetricFamily("counter", "From elsewhere.", (), data={(): 7})}
    with telemetry.on_collect(lambda: series.set(5)), telemetry.with_collector(lambda: foreign):
        families = telemetry.snapshot().families
        assert families["waiting"].data == {(): 5}
        assert families["foreign"].data == {(): 7}
    series.set(1)
    foreign = {}
    assert telemetry.snapshot().families["waiting"].data == {(): 1}
    assert telemetry.snapshot().families["foreign"].data == {(): 7}, "the last values are retained"


def test_a_failing_collector_is_logged_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = recorded()

    def failing() -> None:
        raise OSError("no such sensor")

    with telemetry.on_collect(failing):
        for _ in range(3):
            assert telemetry.snapshot().families["greeted"].data == {("hello",): 1}
    assert len(caplog.records) == 1
    assert "failing" in caplog.text


def test_concurrent_threads_lose_no_increment() -> None:
    telemetry = Telemetry(10)

    def count() -> None:
        for _ in range(20_000):
            telemetry.series(GREETED, "hello").inc()
            telemetry.series(STAYED).observe(1.5)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    families = telemetry.snapshot().families
    assert families["greeted"].data == {("hello",): 160_000}
    assert families["stayed"].data[()][1] == [0, 160_000, 0]


def test_a_snapshot_survives_encoding() -> None:
    snapshot = recorded().snapshot()
    assert decode(encode(snapshot)) == snapshot


def test_workers_add_up_and_gauges_combine_as_declared() -> None:
    totals = Totals()
    totals.update("1", recorded().snapshot())
    second = recorded()
    second.series(OLDEST).set(80)
    second.series(NEWEST).set(30)
    totals.update("2", second.snapshot())
    families = totals.total().families
    assert families["greeted"].data == {("hello",): 2}
    assert families["waiting"].data == {(): 6}
    assert families["oldest"].data == {(): 80}
    assert families["newest"].data == {(): 20}
    assert families["resident"].labels == ("floor", "worker")
    assert families["resident"].data == {("first", "1"): 2, ("first", "2"): 2}
    assert families["stayed"].data[()] == [24.0, [4, 2, 2], {}]


def test_an_exited_worker_keeps_its_counters_and_loses_its_gauges() -> None:
    totals = Totals()
    totals.update("1", recorded().snapshot())
    totals.mark_exited("1")
    totals.mark_exited("1")
    totals.update("2", recorded().snapshot())
    families = totals.total().families
    assert families["greeted"].data == {("hello",): 2}
    assert families["stayed"].data[()][1] == [4, 2, 2]
    assert families["resident"].data == {("first", "2"): 2}
    assert totals.total().families == families


def test_a_metric_that_a_new_worker_declares_differently_is_reset() -> None:
    totals = Totals()
    totals.update("1", recorded().snapshot())
    totals.mark_exited("1")
    totals.update(
        "2", Snapshot(10, {"stayed": MetricFamily("histogram", "Anew.", (), bounds=(5.0,), data={(): [1, [1, 0], {}]})})
    )
    assert totals.total().families["stayed"].data == {(): [1, [1, 0], {}]}


def test_the_latest_exemplar_of_a_bucket_is_retained() -> None:
    totals = Totals()
    for worker, trace, at in (("1", "old", 1.0), ("2", "new", 2.0), ("3", "older", 0.5)):
        data: dict[LabelValues, Any] = {(): [0.5, [1, 0, 0], {"0": [trace, 0.5, at]}]}
        totals.update(worker, Snapshot(10, {"stayed": MetricFamily("histogram", "", (), bounds=(1.0, 2.0), data=data)}))
    assert totals.total().families["stayed"].data[()][2] == {"0": ["new", 0.5, 2.0]}


words = st.lists(st.sampled_from("abcdefgh"), max_size=30)


@given(st.lists(st.tuples(words, st.booleans()), max_size=12))
def test_counters_never_decrease_and_lose_no_increment(history: list[tuple[list[str], bool]]) -> None:
    """Workers count, report and exit; no series of the total decreases, and the sum is complete."""
    totals = Totals()
    telemetry, worker, counted = Telemetry(3), 0, 0
    before: dict[tuple[str, ...], float] = {}
    for greeted, ends in history:
        for word in greeted:
            telemetry.series(GREETED, word).inc()
            counted += 1
        totals.update(str(worker), decode(encode(telemetry.snapshot())))
        if ends:
            totals.mark_exited(str(worker))
            telemetry, worker = Telemetry(3), worker + 1
        families = totals.total().families
        after = families["greeted"].data if "greeted" in families else {}
        assert all(after[values] >= number for values, number in before.items())
        assert sum(after.values()) == counted
        assert len(after) <= 4
        before = after


@pytest.mark.anyio
async def test_nothing_is_recorded_while_no_plugin_exports(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    host = create_app({}, app=bare_application)
    async with running(host):
        request = Request({**http_scope(), "scalekit": host.context})
        for number in range(5):
            GREETED(request, f"word {number}").inc()
        STAYED(request).observe(1)
        STAYED(request).observe_traced(1, "trace")
        WAITING(request).set(1)
        telemetry = TELEMETRY(request)
        assert isinstance(telemetry, NullTelemetry)
        assert not telemetry.recording
        assert (await telemetry.total()).families == {}


@pytest.mark.anyio
async def test_an_application_records_in_its_own_telemetry(install: Install) -> None:
    install("exporter", EXPORTER)
    one = create_app({"plugins": {"exporter": {}}}, app=bare_application)
    other = create_app({"plugins": {"exporter": {}}}, app=bare_application)
    async with running(one), running(other):
        GREETED(Request({**http_scope(), "scalekit": one.context}), "hello").inc(2)
        families = (await one.context.get(TELEMETRY).total()).families
        assert families["greeted"].data == {("hello",): 2}
        assert "greeted" not in (await other.context.get(TELEMETRY).total()).families


def test_telemetry_is_provided_after_all_hooks_for_metrics(install: Install) -> None:
    install(
        "eager",
        EXPORTER.replace(
            "    return", "    from scalekit.telemetry import TELEMETRY; context.get(TELEMETRY)\n    return"
        ),
    )
    with pytest.raises(PluginError, match="no started plugin provides 'telemetry'") as caught:
        create_app({"plugins": {"eager": {}}}, app=bare_application)
    assert isinstance(caught.value.__cause__, ResourceError)


def test_totals_of_one_process_have_its_worker_label(caplog: pytest.LogCaptureFixture) -> None:
    families = asyncio.run(recorded().total()).families
    assert families["resident"].data == {("first", "1"): 2}
