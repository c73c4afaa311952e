"""Which traces are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scalekit import TraceContext
from scalekit_tracing.config import SamplingConfig
from scalekit_tracing.sampling import FAILED, MAX_ROUTES, MIN_SAMPLES, PARENT, RATIO, SLOW, QuantileEstimate, Sampler

trace_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


def context(trace_id: str = "f" * 32, parent_id: str = "", flags: str = "02") -> TraceContext:
    return TraceContext("id", trace_id, [], parent_id, flags)


@given(trace_ids, st.floats(0, 1))
def test_the_ratio_is_that_of_the_random_digits(trace_id: str, ratio: float) -> None:
    sampler = Sampler(SamplingConfig(ratio=ratio))
    share = 1 - int(trace_id[-14:], 16) / (1 << 56)
    if abs(share - ratio) > 1e-9:
        assert sampler.samples(context(trace_id)) == (share <= ratio)


def test_no_trace_and_every_trace() -> None:
    assert not Sampler(SamplingConfig(ratio=0.0)).samples(context("f" * 32))
    assert Sampler(SamplingConfig(ratio=1.0)).samples(context("0" * 32))


def test_reasons() -> None:
    sampler = Sampler(SamplingConfig(max_traces_per_second=100.0))
    assert sampler.reason(context(), "/", 0.1, failed=True) == FAILED
    assert sampler.reason(context(), "/", 1.1, failed=False) == SLOW
    assert sampler.reason(context(flags="03"), "/", 0.1, failed=False) == RATIO
    assert sampler.reason(context(parent_id="1" * 16, flags="01"), "/", 0.1, failed=False) == PARENT
    assert sampler.reason(context(), "/", 0.1, failed=False) == ""


def test_the_rate_bounds_failures_and_those_of_clients_and_all_others_apart() -> None:
    sampler = Sampler(SamplingConfig(max_traces_per_second=0.001))
    continued = context(parent_id="1" * 16, flags="01")
    for each, failed, reason in (
        (context(), True, FAILED),
        (continued, False, PARENT),
        (context(flags="01"), False, RATIO),
    ):
        assert sampler.reason(each, "/", 0.1, failed=failed) == reason
        assert sampler.reason(each, "/", 0.1, failed=failed) == ""


@given(st.integers(0, 2**32))
def test_the_estimate_approaches_the_quantile(seed: int) -> None:
    from random import Random

    random = Random(seed)
    estimate = QuantileEstimate(0.9)
    above = [estimate.add(random.lognormvariate(-4, 0.5)) for _ in range(5000)]
    assert 0.05 < sum(above[1000:]) / 4000 < 0.15


def test_a_route_is_slow_in_comparison_with_itself() -> None:
    sampler = Sampler(SamplingConfig(ratio=0.0, max_traces_per_second=10_000.0))
    for _ in range(MIN_SAMPLES):
        assert sampler.reason(context(), "/fast", 0.001, failed=False) == ""
        assert sampler.reason(context(), "/slow", 0.1, failed=False) == ""
    assert sampler.reason(context(), "/fast", 0.1, failed=False) == SLOW
    assert sampler.reason(context(), "/slow", 0.09, failed=False) == ""


def test_routes_are_bounded() -> None:
    sampler = Sampler(SamplingConfig())
    for number in range(2 * MAX_ROUTES):
        sampler.reason(context(), f"/{number}", 0.1, failed=False)
    assert len(sampler._routes) == MAX_ROUTES + 1
