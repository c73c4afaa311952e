"""`scalekit doctor` prints findings as text and JSON; errors among them are its exit status."""

from __future__ import annotations

import json

from tests.host.cli.conftest import Run

UNSAFE = """
[app]
target = "service:app"
[server]
host = "0.0.0.0"
port = 0
operator_networks = ["0.0.0.0/0"]
[plugins.visits]
limit = 5
"""


def test_findings_are_printed_with_value_remedy_and_link(run: Run) -> None:
    done = run("doctor", toml=UNSAFE)
    assert done.returncode == 1, done.stderr
    assert "error host: operators server.operator_networks = 0.0.0.0/0\n" in done.stdout
    assert "    remedy: name only the networks of operators" in done.stdout
    assert "    see docs/doctor.md#operators\n" in done.stdout
    assert "advice visits: visits-limit plugins.visits.limit = 5\n" in done.stdout
    assert done.stdout.index("error host") < done.stdout.index("warning host") < done.stdout.index("advice visits")


def test_findings_are_printed_as_json(run: Run) -> None:
    done = run("doctor", "--json", "--instances", "2", toml=UNSAFE)
    content = json.loads(done.stdout)
    assert (done.returncode, content["version"], content["status"]) == (1, 1, "failed")
    (advice,) = [each for each in content["findings"] if each["owner"] == "visits"]
    assert advice == {
        "name": "visits-limit",
        "severity": "advice",
        "owner": "visits",
        "message": "few names fit",
        "key": "plugins.visits.limit",
        "value": "5",
        "remedy": "raise limit in [plugins.visits]",
        "link": "docs/doctor.md#visits-limit",
    }
    assert {"visits", "unsafe defaults"} < set(content["examined"])


def test_without_errors_the_command_succeeds(run: Run) -> None:
    done = run("doctor", "--set", "server.port=0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " examined: 0 errors" in done.stdout


def test_a_bad_file_and_a_bad_number_of_instances_are_refused(run: Run) -> None:
    assert run("doctor", toml="[server]\nprt = 1\n").returncode == 78
    assert run("doctor", "--instances", "0").returncode == 2
