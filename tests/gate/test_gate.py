"""The gate passes when everything passes, at the latest the second time, and in no other case."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gate.__main__ import _run
from tests.gate.busy import busy
from tests.gate.phase import ROOT, WITH_SIGINT, Phase
from tests.gate.summary import Total, lines
from tests.processes import alive, wait_for

Gate = Callable[..., tuple[Total, list[str]]]

FLAKY = """
from pathlib import Path
def test_{name}():
    seen = Path(__file__).with_suffix(".{name}")
    first = not seen.exists()
    seen.touch()
    assert not first, "the first time"
"""
GOOD = "def test_good(): pass\n"
BAD = "def test_bad(): assert 1 == 2\n"
BROKEN_FIXTURE = """
import pytest
@pytest.fixture
def server(): raise OSError("no server")
def test_with_a_server(server): pass
"""


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Run the gate over files of tests, and return its total and its last lines."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take seconds to import
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CI", raising=False)

    def gate(*sources: str, arguments: tuple[str, ...] = ()) -> tuple[Total, list[str]]:
        for number, source in enumerate(sources):
            (tmp_path / f"test_{number}.py").write_text(textwrap.dedent(source))
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
        times: list[tuple[str, float]] = []
        parts = [Phase("a part", arguments, folder=tmp_path)]
        total = _run([parts], times)
        return total, lines(total, times, parts)

    return gate


def test_a_passing_run_passes(gate: Gate) -> None:
    total, last = gate(GOOD, GOOD)
    assert total.passed
    assert re.fullmatch(r"=+ 2 passed in [\d.]+s \(0:\d\d:\d\d\) =+", last[-1])


def test_a_test_that_fails_twice_fails_the_gate(gate: Gate) -> None:
    total, last = gate(GOOD, BAD)
    assert not total.passed
    assert "FAILED test_1.py::test_bad (a part) - assert 1 == 2" in last
    assert " 1 failed, 1 passed in " in last[-1]


def test_a_test_that_passes_the_second_time_is_flaky(gate: Gate) -> None:
    total, last = gate(GOOD, FLAKY.format(name="late"))
    assert total.passed
    assert "FLAKY test_1.py::test_late (a part) - AssertionError: the first time" in last
    assert " 2 passed in " in last[-1]


def test_only_failed_tests_run_again(gate: Gate, tmp_path: Path) -> None:
    count = f"def test_count():\n    with open({str(tmp_path / 'count')!r}, 'a') as f: f.write('x')\n"
    total, _ = gate(FLAKY.format(name="late") + count)
    assert total.passed
    assert (tmp_path / "count").read_text() == "x"


def test_tests_in_several_processes_count_like_those_in_one(gate: Gate) -> None:
    total, last = gate(GOOD, BAD, FLAKY.format(name="late"), arguments=TWO)
    assert not total.passed
    assert [line.partition(" - ")[0] for line in total.flaky] == ["test_2.py::test_late (a part)"]
    assert " 1 failed, 2 passed in " in last[-1]


def test_tests_with_unusual_parameters_run_again(gate: Gate) -> None:
    source = """
    import pytest
    from pathlib import Path
    @pytest.mark.parametrize("text", ["a b", "x::y[z]", "é@/", "'\\"$(true)", ""])
    def test_each(text):
        seen = Path(__file__).with_suffix(f".x{text.encode().hex()}")
        first = not seen.exists()
        seen.touch()
        assert not first
    """
    total, _ = gate(source)
    assert total.passed
    assert len(total.flaky) == 5


def test_a_fixture_that_fails_twice_fails_the_gate(gate: Gate) -> None:
    total, last = gate(GOOD, BROKEN_FIXTURE)
    assert not total.passed
    assert " 1 passed, 1 error in " in last[-1]


TWO = ("-p", "xdist", "-n2", "--dist=loadfile")
ENDS = "import os\ndef test_it(): os._exit({})\n"


@pytest.mark.parametrize(
    ("source", "arguments", "reason"),
    [
        (ENDS.format(0), (), "pytest ended with 0 before its tests were over"),
        (ENDS.format(1), (), "pytest ended with 1 before its tests were over"),
        (ENDS.format(0), TWO, "a worker process crashed in test_0.py::test_it"),
        ("def test_it(): raise KeyboardInterrupt\n", (), "it was interrupted"),
        ("import pytest\ndef test_it(): pytest.exit('enough', 0)\n", (), "tests were not run to their end"),
        ("import nothing_of_this_name\n", (), "cannot be collected"),
        ("import nothing_of_this_name\n", TWO, "cannot be collected"),
        ("# no tests\n", (), "no tests"),
    ],
)
def test_a_crashed_run_fails_the_gate(gate: Gate, source: str, arguments: tuple[str, ...], reason: str) -> None:
    others = () if source.startswith("#") else (GOOD,)
    total, last = gate(source, *others, arguments=arguments)
    assert not total.passed
    assert reason in "\n".join(total.problems)
    assert any(line.startswith("ERROR a part: ") for line in last)
    assert re.search(r"\d+ errors? in ", last[-1])


def test_a_python_that_cannot_be_prepared_fails_the_gate() -> None:
    def prepare() -> str:
        raise subprocess.CalledProcessError(1, ["pip"])

    phase = Phase("another Python", [], prepare)
    total = _run([[phase]], [])
    assert not total.passed
    assert "another Python: it could not be prepared: Command '['pip']' returned non-zero" in total.problems[0]


def test_a_skipped_test_fails_the_gate_where_it_decides(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    source = GOOD + "import pytest\ndef test_it(): pytest.skip('no disk')\n"
    total, last = gate(source)
    assert total.passed
    assert " 1 passed, 1 skipped in " in last[-1]
    monkeypatch.setenv("CI", "true")
    total, last = gate(source)
    assert not total.passed
    assert "a part: test_0.py::test_it was skipped: Skipped: no disk" in total.problems


def test_a_crash_the_second_time_fails_the_gate(gate: Gate) -> None:
    total, _ = gate(GOOD, "import os\n" + FLAKY.format(name="late") + "    os._exit(0)\n")
    assert not total.passed
    assert "a part, once more: pytest ended with 0 before its tests were over" in total.problems


def test_a_test_that_is_missing_the_second_time_fails_the_gate(gate: Gate) -> None:
    total, _ = gate(
        GOOD, f"from pathlib import Path\ndef test_it():\n    Path(__file__).write_text({GOOD!r})\n    assert 0\n"
    )
    assert not total.passed
    assert "a part, once more: 1 tests did not run again: test_1.py::test_it, ..." in total.problems


HANGS = """
import os, time
from pathlib import Path
def test_it():
    Path({note!r}).write_text(str(os.getpid()))
    time.sleep(600)
"""
MEETS = """
import time
from pathlib import Path
def test_it():
    folder = Path(__file__).parent
    Path(folder, "{own}").touch()
    deadline = time.monotonic() + 60
    while not Path(folder, "{other}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""


def test_lanes_run_beside_each_other_and_phases_of_a_lane_in_their_order(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(MEETS.format(own="one", other="two"))
    (tmp_path / "test_two.py").write_text(MEETS.format(own="two", other="one"))
    (tmp_path / "test_last.py").write_text("from pathlib import Path\ndef test_it(): assert Path('one').exists()\n")
    one, two, last = (Phase(name, [f"test_{name}.py"], folder=tmp_path) for name in ("one", "two", "last"))
    total = _run([[one], [two, last]], [])
    assert total.passed
    assert total.counts["passed"] == 3


def test_failures_in_a_concurrent_lane_are_shown(gate: Gate, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    folder = Path("nowhere")
    _run([[Phase("one", [], folder=folder)], [Phase("two", ["--version"])]], [])
    shown, _ = capfdbinary.readouterr()
    assert b"==> one" in shown
    assert b"==> two\npytest " in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_gate_ends_the_phases_of_every_lane(number: signal.Signals, gate: Gate, tmp_path: Path) -> None:
    notes = [tmp_path / "one", tmp_path / "two"]
    for note in notes:
        (tmp_path / f"test_{note.name}.py").write_text(HANGS.format(note=str(note)))
    source = f"""
    import signal
    from pathlib import Path
    from tests.gate.__main__ import _end
    from tests.gate.lane import run_lanes
    from tests.gate.phase import Phase
    signal.signal(signal.SIGTERM, _end)
    one, two = (Phase(name, [f"test_{{name}}.py"], folder=Path({str(tmp_path)!r})) for name in ("one", "two"))
    run_lanes([[one], [two, one]])
    """
    command = [*WITH_SIGINT, sys.executable, "-c", textwrap.dedent(source)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for("both tests", lambda: all(note.exists() and note.read_text() for note in notes), process)
        pids = [int(note.read_text()) for note in notes]
        os.kill(process.pid, number)
    assert process.returncode != 0
    wait_for("the end of the tests", lambda: not any(map(alive, pids)))


def test_files_with_slow_tests_come_first(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("def pytest_configure(config): config.addinivalue_line('markers', 'unit: x')")
    quick = "import pytest\n@pytest.mark.unit\ndef test_quick(): pass\n"
    (tmp_path / "test_a.py").write_text(quick)
    (tmp_path / "test_b.py").write_text(quick + "def test_slow(): pass\n")
    (tmp_path / "test_c.py").write_text("def test_slow(): pass\ndef test_slow_too(): pass\n")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "tests.gate.order", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    listed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60).stdout
    assert re.findall(r"test_(\w)\.py", listed) == ["c", "c", "b", "b", "a"]


def test_busy_loops_run_beside_and_end_with_the_block() -> None:
    with busy(2) as pids:
        assert len(pids) == 2
        assert all(map(alive, pids))
    assert not any(map(alive, pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_busy_loops_end_when_the_gate_is_ended(number: signal.Signals) -> None:
    source = """
    import signal, time
    from tests.gate.__main__ import _end
    from tests.gate.busy import busy
    signal.signal(signal.SIGTERM, _end)
    with busy(2) as pids:
        print(*pids, flush=True)
        time.sleep(600)
    """
    command = [*WITH_SIGINT, sys.executable, "-c", textwrap.dedent(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        os.kill(process.pid, number)
    assert process.returncode != 0
    wait_for("the end of the loops", lambda: not any(map(alive, pids)))
