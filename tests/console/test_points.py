from __future__ import annotations

from typing import Any

import pytest

from scalekit_console.points import Moments, Point, sum_points
from scalekit_console.request_sampler import RequestSampler
from scalekit_console.sampler import GROUP, SAMPLES, Sample, WorkerSampler


def sampler(seconds: int) -> WorkerSampler:
    found = WorkerSampler(RequestSampler())
    for at in range(GROUP * 100, GROUP * 100 + seconds):
        found.samples.append(Sample(at, 1, 2, 0.5, 100, 0.001, {20: 3, 30: 1}))
    return found


def test_workers_are_summed_by_time() -> None:
    moments = Moments().of({"0": sampler(GROUP).describe(), "1": sampler(2 * GROUP).describe()})
    first, second = moments[GROUP * 100], moments[GROUP * 101]
    assert (first.total.requests, first.total.errors, first.total.rate, first.total.in_flight) == (40, 10, 8, 4)
    assert (first.total.error_rate, first.total.rss, first.total.delay) == (0.25, 200, 0.001)
    assert (list(first.workers), list(second.workers)) == (["0", "1"], ["1"])
    assert second.total.requests == first.workers["0"].requests == 20


def test_only_what_has_changed_is_computed_again() -> None:
    moments, worker = Moments(), sampler(SAMPLES)
    before = moments.of({"0": worker.describe()})
    assert moments.of({"0": worker.describe()})[GROUP * 101] is before[GROUP * 101]
    worker.samples.append(Sample(GROUP * 100 + SAMPLES, 0, 0, 0.0, 0, 0.0, {}))
    after = moments.of({"0": worker.describe()})
    assert [at for at in after if after[at] is not before.get(at)] == [GROUP * 100 + SAMPLES]
    restarted: dict[str, Any] = {"0": sampler(GROUP).describe(), "1": worker.describe()}
    assert moments.of(restarted)[GROUP * 100].total.requests > before[GROUP * 100].total.requests


def test_times_that_no_worker_describes_are_forgotten() -> None:
    moments = Moments()
    moments.of({"0": sampler(SAMPLES).describe()})
    assert len(moments.of({"0": sampler(GROUP).describe()})) == 1
    assert moments.of({}) == {}


def test_without_requests_there_are_no_percentiles() -> None:
    nothing = sum_points([])
    assert nothing == Point(0, 0, 0, 0.0, 0, 0.0, {})
    assert (nothing.rate, nothing.error_rate, nothing.percentiles()) == (0, None, [None, None, None])


def test_percentiles_are_of_all_requests() -> None:
    (moment,) = Moments().of({"0": sampler(GROUP).describe()}).values()
    half, most, nearly_all = moment.percentiles
    assert half == pytest.approx(16, rel=0.5)
    assert most == pytest.approx(nearly_all, rel=0.2)
