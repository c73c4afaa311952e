"""Functions of `k6/lib`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.service import ROOT
from tests.tools import k6

pytestmark = pytest.mark.needs("k6")

SCRIPT = """
import { check } from 'k6';
import { fitStages, runDuration, seconds, totalDuration } from 'LIB/duration.js';
import { knee, kneeReport } from 'LIB/saturation.js';
import { leastSquares } from 'LIB/memory.js';
import { chart, round } from 'LIB/svg_chart.js';

export const options = { iterations: 1, thresholds: { checks: ['rate==1.0'] } };

const POINTS = [[100, 10], [200, 20], [300, 600], [400, 30]].map(([rate, p95]) => ({ rate, p95, failed: 0, at: rate }));
const FAILING = POINTS.map((point) => ({ ...point, failed: point.rate > 100 ? 0.5 : 0 }));
const CHART = chart('P', 'ms', [{ name: 'a', points: [[0, 0], [1, 10], [2, undefined], [3, 5]] }], { bound: 8 });

const TESTS = {
  'durations are parsed': () => seconds('250ms') === 0.25 && seconds('2m') === 120 && seconds('1.5h') === 5400,
  'stages are fitted': () => totalDuration(fitStages([{ duration: '2m' }, { duration: '8m' }])) === EXPECTED,
  'proportions stay': () => fitStages([{ duration: '2m', target: 7 }, { duration: '8m' }])[0].duration === FIRST,
  'a duration is scaled': () => runDuration(600) === EXPECTED,
  'the knee is before the first slow interval': () => knee(POINTS, { p95: 500 }).rate === 200,
  'the knee is before the first failing interval': () => knee(FAILING, { failed: 0.01 }).rate === 100,
  'the breaking interval is returned': () => knee(FAILING, { failed: 0.01 }).breaking.at === 200,
  'a run may have no knee': () => knee(POINTS, {}).rate === 400 && knee(POINTS, {}).breaking === undefined,
  'the knee is reported': () => kneeReport({ p95: 500 })({}, POINTS).facts[0][1] === '200 requests per second',
  'a slope is computed': () => leastSquares([[0, 1], [1, 3], [2, 5]]) === 2 && leastSquares([[0, 4], [5, 4]]) === 0,
  'a chart has its line': () => (CHART.match(/<polyline points="([^"]+)"/)[1].split(' ').length === 3),
  'a chart has its bound': () => CHART.includes('stroke-dasharray'),
  'a chart may have no samples': () => chart('P', 'ms', [{ name: 'a', points: [] }]).includes('No samples'),
  'numbers are rounded': () => round(1234.5) === '1235' && round(0.012345) === '0.0123',
  'a missing number is a dash': () => round(undefined) === '-',
};

export default () => check(null, TESTS);
"""


@pytest.mark.parametrize(
    ("duration", "expected", "first"), [("", 600, "120000ms"), ("short", 60, "12000ms"), ("10s", 10, "2000ms")]
)
def test_functions_of_the_shared_modules(tmp_path: Path, duration: str, expected: int, first: str) -> None:
    script = tmp_path / "script.js"
    source = SCRIPT.replace("LIB", f"{ROOT}/k6/lib").replace("EXPECTED", str(expected)).replace("FIRST", repr(first))
    script.write_text(source)
    result = k6(script, DURATION=duration)
    failed = [name for name, check in result.checks.items() if check["fails"]]
    assert not failed
    assert len(result.checks) == 15
    assert result.passed, result.report


def test_scripts_use_no_other_server() -> None:
    for script in (ROOT / "k6").rglob("*.js"):
        text = script.read_text().replace("http://127.0.0.1:8000", "")
        assert not re.search("https?://", text), script
