from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse_text

from scalekit.telemetry.snapshot import MetricFamilies, MetricFamily
from scalekit_metrics.endpoint import TIME_SLICE, render
from scalekit_metrics.exposition import OpenMetricsFormat, PrometheusFormat, format_number, write
from tests.metrics.scrape_client import parse_openmetrics
from tests.tools import promtool

FORMATS = [pytest.param(PrometheusFormat(), id="text"), pytest.param(OpenMetricsFormat(), id="openmetrics")]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
HELP = st.text(st.characters(codec="ascii", exclude_characters="\r\0"), max_size=12).map(str.strip)
NAMES = st.from_regex(r"[a-z]{1,4}_[a-z]{2}", fullmatch=True).filter(lambda name: not name.endswith(("_is", "_gc")))
FLOATS = st.floats(allow_nan=False)
COUNTS = st.integers(0, 2**53)
TRACES = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)


@st.composite
def metric_families(draw: Any) -> MetricFamily:
    kind = draw(st.sampled_from(["counter", "gauge", "histogram", "summary"]))
    labels = tuple(draw(st.lists(st.sampled_from(["a", "b", "_c", "route"]), unique=True)))
    values = st.tuples(*[TEXT.filter(bool)] * len(labels))
    family = MetricFamily(kind, draw(HELP), labels)
    if kind == "histogram":
        bounds = draw(st.lists(st.floats(0, 1e9, exclude_min=True), min_size=1, max_size=4, unique=True))
        family.bounds = tuple(sorted(bounds))
        counts = st.lists(st.integers(0, 10**6), min_size=len(bounds) + 1, max_size=len(bounds) + 1)
        example = st.tuples(TRACES, st.floats(0, 1e9), st.integers(0, 2**31)).map(list)
        examples = st.dictionaries(st.integers(0, len(bounds)).map(str), example)
        data = st.tuples(st.floats(0, 1e300), counts, examples).map(list)
        family.data = draw(st.dictionaries(values, data, min_size=1, max_size=3))
    elif kind == "summary":
        family.labels = (*labels, "part")
        for each in draw(st.lists(values, min_size=1, max_size=3, unique=True)):
            family.data |= {(*each, "sum"): draw(st.floats(0, 1e300)), (*each, "count"): draw(COUNTS)}
    else:
        amounts = st.one_of(st.floats(0, 1e300), COUNTS) if kind == "counter" else st.one_of(FLOATS, COUNTS)
        family.data = draw(st.dictionaries(values, amounts, min_size=1, max_size=3))
    return family


def expected(families: MetricFamilies) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    found: set[tuple[str, frozenset[tuple[str, str]], float]] = set()
    for name, family in families.items():
        for values, data in family.data.items():
            labels = dict(zip(family.labels, values, strict=True))
            if family.kind == "histogram":
                found |= {(f"{name}_sum", _key(labels), data[0]), (f"{name}_count", _key(labels), sum(data[1]))}
                for place, bound in enumerate((*family.bounds, math.inf)):
                    at_most = _key({**labels, "le": format_number(float(bound))})
                    found.add((f"{name}_bucket", at_most, sum(data[1][: place + 1])))
            elif family.kind == "summary":
                part = labels.pop("part")
                found.add((f"{name}_{part}", _key(labels), data))
            else:
                found.add((f"{name}_total" if family.kind == "counter" else name, _key(labels), data))
    return found


def _key(labels: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@pytest.mark.parametrize("text_format", FORMATS)
@settings(max_examples=60)
@given(families=st.dictionaries(NAMES, metric_families(), max_size=4))
def test_parsers_read_the_same_samples(text_format: PrometheusFormat, families: MetricFamilies) -> None:
    text = "".join(write(families, text_format))
    parsed = list((parse_openmetrics if isinstance(text_format, OpenMetricsFormat) else parse_text)(text))
    assert {
        (sample.name, frozenset(sample.labels.items()), sample.value) for each in parsed for sample in each.samples
    } == expected(families)
    assert {each.name: each.type for each in parsed} == {name: each.kind for name, each in families.items()}
    if isinstance(text_format, OpenMetricsFormat):
        assert {each.name: each.documentation for each in parsed} == {name: f.help for name, f in families.items()}


@settings(max_examples=60)
@given(families=st.dictionaries(NAMES, metric_families(), min_size=1, max_size=4))
def test_exemplars_are_in_openmetrics_only(families: MetricFamilies) -> None:
    assert not any(
        sample.exemplar for each in parse_text("".join(write(families, PrometheusFormat()))) for sample in each.samples
    )
    found = {
        (
            name,
            sample.labels["le"],
            sample.exemplar.labels["trace_id"],
            sample.exemplar.value,
            float(sample.exemplar.timestamp or 0),
        )
        for name, family in (
            (each.name, each) for each in parse_openmetrics("".join(write(families, OpenMetricsFormat())))
        )
        for sample in family.samples
        if sample.exemplar
    }
    assert found == {
        (name, format_number(float((*family.bounds, math.inf)[int(bucket)])), trace_id, value, float(moment))
        for name, family in families.items()
        if family.kind == "histogram"
        for _, _, examples in family.data.values()
        for bucket, (trace_id, value, moment) in examples.items()
    }


def test_the_text_of_both_formats() -> None:
    families = {
        "shop_orders": MetricFamily("counter", 'Orders\n"all" \\ of them.', ("by",), data={('a"\\\n',): 3}),
        "shop_took": MetricFamily(
            "histogram", "Took.", (), bounds=(0.5, 1), data={(): [4.5, [1, 0, 2], {"2": ["abc", 2.5, 1700000000.1234]}]}
        ),
        "shop_none": MetricFamily("gauge", "None.", ()),
    }
    assert "".join(write(families, PrometheusFormat())) == (
        '# HELP shop_orders_total Orders\\n"all" \\\\ of them.\n'
        "# TYPE shop_orders_total counter\n"
        'shop_orders_total{by="a\\"\\\\\\n"} 3\n'
        "# HELP shop_took Took.\n"
        "# TYPE shop_took histogram\n"
        'shop_took_bucket{le="0.5"} 1\n'
        'shop_took_bucket{le="1.0"} 1\n'
        'shop_took_bucket{le="+Inf"} 3\n'
        "shop_took_sum 4.5\n"
        "shop_took_count 3\n"
    )
    assert "".join(write(families, OpenMetricsFormat())) == (
        '# HELP shop_orders Orders\\n\\"all\\" \\\\ of them.\n'
        "# TYPE shop_orders counter\n"
        'shop_orders_total{by="a\\"\\\\\\n"} 3\n'
        "# HELP shop_took Took.\n"
        "# TYPE shop_took histogram\n"
        'shop_took_bucket{le="0.5"} 1\n'
        'shop_took_bucket{le="1.0"} 1\n'
        'shop_took_bucket{le="+Inf"} 3 # {trace_id="abc"} 2.5 1700000000.123\n'
        "shop_took_sum 4.5\n"
        "shop_took_count 3\n"
        "# EOF\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (True, "1.0"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_in_the_notation_of_go(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.anyio
async def test_rendering_a_long_page_does_not_block_the_event_loop() -> None:
    rounds = 0

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    data: dict[tuple[str, ...], Any] = {(str(value),): [1.0, [1] * 15, {}] for value in range(5000)}
    family = MetricFamily(
        "histogram", "Long.", ("value",), bounds=tuple(float(bound) for bound in range(1, 15)), data=data
    )
    counter = asyncio.create_task(count_rounds())
    page = await render({"long": family}, PrometheusFormat())
    counter.cancel()
    assert page.count(b"\n") == 5000 * 17 + 2
    assert TIME_SLICE <= 0.001
    assert rounds > 10


@pytest.mark.anyio
async def test_a_lone_surrogate_is_replaced() -> None:
    family = MetricFamily("gauge", "Half.", ("value",), data={("\ud800",): 1})
    assert b'half{value="?"} 1\n' in await render({"half": family}, PrometheusFormat())


@pytest.mark.needs("promtool")
def test_promtool_reads_what_is_escaped() -> None:
    families = {"shop_orders": MetricFamily("counter", "Orders.", ("by",), data={('a"\\\n',): 3, ("",): 1})}
    result = promtool("check", "metrics", text="".join(write(families, PrometheusFormat())))
    assert (result.returncode, result.stderr) == (0, "")
