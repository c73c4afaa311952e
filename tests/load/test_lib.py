"""What the scripts share works out what it should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.service import ROOT
from tests.tools import k6

pytestmark = pytest.mark.needs("k6")

SCRIPT = """
import { check } from 'k6';
import { fitted, length, seconds, total } from 'LIB/duration.js';
import { knee, kneeReport } from 'LIB/saturation.js';
import { leastSquares } from 'LIB/memory.js';
import { picture, rounded } from 'LIB/svg_chart.js';

export const options = { iterations: 1, thresholds: { checks: ['rate==1.0'] } };

const POINTS = [[100, 10], [200, 20], [300, 600], [400, 30]].map(([rate, p95]) => ({ rate, p95, failed: 0, at: rate }));
const FAILING = POINTS.map((point) => ({ ...point, failed: point.rate > 100 ? 0.5 : 0 }));
const PATH = picture('P', 'ms', [{ name: 'a', points: [[0, 0], [1, 10], [2, undefined], [3, 5]] }], { bound: 8 });

const TESTS = {
  'durations are read': () => seconds('250ms') === 0.25 && seconds('2m') === 120 && seconds('1.5h') === 5400,
  'stages are fitted': () => total(fitted([{ duration: '2m' }, { duration: '8m' }])) === WANTED,
  'and keep their shares': () => fitted([{ duration: '2m', target: 7 }, { duration: '8m' }])[0].duration === FIRST,
  'a length is fitted': () => length(600) === WANTED,
  'the knee is before the first that is late': () => knee(POINTS, { p95: 500 }).kept === 200,
  'or that fails': () => knee(FAILING, { failed: 0.01 }).kept === 100,
  'where it breaks is told': () => knee(FAILING, { failed: 0.01 }).broken.at === 200,
  'there may be none': () => knee(POINTS, {}).kept === 400 && knee(POINTS, {}).broken === undefined,
  'the knee is reported': () => kneeReport({ p95: 500 })({}, POINTS).facts[0][1] === '200 requests a second',
  'a slope is found': () => leastSquares([[0, 1], [1, 3], [2, 5]]) === 2 && leastSquares([[0, 4], [5, 4]]) === 0,
  'a picture has its line': () => (PATH.match(/<polyline points="([^"]+)"/)[1].split(' ').length === 3),
  'and its bound': () => PATH.includes('stroke-dasharray'),
  'nothing measured is said': () => picture('P', 'ms', [{ name: 'a', points: [] }]).includes('Nothing was measured'),
  'numbers are rounded': () => rounded(1234.5) === '1235' && rounded(0.012345) === '0.0123',
  'no number is a dash': () => rounded(undefined) === '-',
};

export default () => check(null, TESTS);
"""


@pytest.mark.parametrize(
    ("duration", "wanted", "first"), [("", 600, "120000ms"), ("short", 60, "12000ms"), ("10s", 10, "2000ms")]
)
def test_durations_knees_slopes_and_pictures(tmp_path: Path, duration: str, wanted: int, first: str) -> None:
    script = tmp_path / "script.js"
    source = SCRIPT.replace("LIB", f"{ROOT}/k6/lib").replace("WANTED", str(wanted)).replace("FIRST", repr(first))
    script.write_text(source)
    result = k6(script, DURATION=duration)
    failed = [name for name, check in result.checks.items() if check["fails"]]
    assert not failed
    assert len(result.checks) == 15
    assert result.passed, result.report


def test_no_script_fetches_anything_but_from_the_service() -> None:
    for script in (ROOT / "k6").rglob("*.js"):
        text = script.read_text().replace("http://127.0.0.1:8000", "")
        assert not re.search("https?://", text), script
