from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from scalekit.config.schema import file_schema
from scalekit_visits.config import VisitsConfig

TAPLO = Path(sys.executable).with_name("taplo")

GOOD = """\
[app]
target = "x:y"
[server]
port = "${PORT:-8000}"
max_body = 1024
drain_delay = "${DRAIN:-5s}"
operator_networks = ["10.0.0.0/8"]
[health.external]
short = "http://a/"
[health.external.long]
url = "http://b/"
[plugins.visits]
limit = 5
[plugins.empty]
"""


def lint(toml: str, folder: Path) -> str:
    (folder / "schema.json").write_bytes(orjson.dumps(file_schema({"visits": VisitsConfig, "empty": None})))
    (folder / "a.toml").write_text(f"#:schema ./schema.json\n{toml}", encoding="utf-8")
    command = [str(TAPLO), "lint", "--colors", "never", "--no-auto-config", "a.toml"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return result.stderr if result.returncode else ""


def complaints(report: str) -> int:
    """Return the number of distinct complaints of the linter, which repeats some."""
    return len({line for line in report.splitlines() if line.startswith("error: ")})


def test_a_good_file_passes_the_linter(tmp_path: Path) -> None:
    assert lint(GOOD, tmp_path) == ""


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("[plugins.visits]\nlimti = 5", "limti"),
        ("[server]\nprot = 1", "prot"),
        ("[sever]", "sever"),
        ("[plugins.pol]", "pol"),
        ("[plugins.empty]\nx = 1", "x"),
    ],
)
def test_the_linter_reports_exactly_the_unknown_key(toml: str, complaint: str, tmp_path: Path) -> None:
    report = lint(toml, tmp_path)
    assert f"('{complaint}' was unexpected)" in report
    assert complaints(report) == 1, report


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("[plugins.visits]\nlimit = -5", "-5 is less than the minimum of 1"),
        ("[server]\ndrain_delay = 5", "5 is not of type"),
        ('[server]\ndrain_delay = "5 sec"', '"5 sec" does not match'),
        ("[server]\nport = 70000", "70000 is greater than the maximum of 65535"),
    ],
)
def test_the_linter_reports_a_bad_value_once(toml: str, complaint: str, tmp_path: Path) -> None:
    report = lint(toml, tmp_path)
    assert complaint in report
    assert complaints(report) == 1, report
