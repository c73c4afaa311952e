"""The tools that the tests load, attack and check services with."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import Box
from tests.servers import find


@dataclass(frozen=True)
class WrkResult:
    """What wrk saw; latencies in seconds."""

    requests: int
    requests_per_second: float
    not_2xx_or_3xx: int
    connect_errors: int
    read_errors: int
    write_errors: int
    timeouts: int
    p50: float
    p99: float
    report: str


def wrk(url: str, *options: str, connections: int = 16, seconds: int = 3, threads: int = 1) -> WrkResult:
    """Load the URL; options are wrk's own, such as `"-H", "name: value"` or `"-s", script`."""
    how = ["--latency", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    with Box("wrk") as box:
        return read_wrk(box.run(find("wrk"), *how, *options, url, limit=seconds + 30).stdout)


def read_wrk(report: str) -> WrkResult:
    """Read wrk's report, which has lines about errors only when there were some."""
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    connect, read, write, timeouts = map(int, errors.groups()) if errors else (0, 0, 0, 0)
    return WrkResult(
        requests=int(_found(r"(\d+) requests in", report)),
        requests_per_second=float(_found(r"Requests/sec:\s+([\d.]+)", report)),
        not_2xx_or_3xx=int(_found(r"Non-2xx or 3xx responses: (\d+)", report, "0")),
        connect_errors=connect,
        read_errors=read,
        write_errors=write,
        timeouts=timeouts,
        p50=_seconds(_found(r"(?m)^\s+50%\s+(\S+)", report)),
        p99=_seconds(_found(r"(?m)^\s+99%\s+(\S+)", report)),
        report=report,
    )


def _found(pattern: str, text: str, default: str | None = None) -> str:
    match = re.search(pattern, text)
    if match is None and default is None:
        raise ValueError(f"nothing in this report matches {pattern!r}:\n{text}")
    return match[1] if match else str(default)


def _seconds(duration: str) -> float:
    number, unit = duration.rstrip("hmnsu"), duration.lstrip("0123456789.")
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}[unit]


@dataclass(frozen=True)
class K6Result:
    """How a k6 script ended: passed means no error and every threshold kept."""

    passed: bool
    status: int
    metrics: dict[str, dict[str, Any]]
    report: str
    checks: dict[str, dict[str, Any]]


def k6(script: Path, *options: str, limit: float = 120.0, **environment: object) -> K6Result:
    """Run a script, whose `__ENV` has the keywords; the metrics are as `--summary-export` writes them."""
    quiet = ["--quiet", "--no-color", "--no-usage-report", "--address="]  # no port of its own
    variables = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
    with Box("k6") as box:
        box.environment["K6_AUTO_EXTENSION_RESOLUTION"] = "false"  # else it may fetch another k6
        summary = box.write("summary.json", '{"metrics": {}}')
        export = f"--summary-export={summary}"
        command = [find("k6"), "run", *quiet, export, *variables, *options, script.absolute()]
        result = box.run(*command, check=False, limit=limit)
        exported = json.loads(summary.read_text())
    report = result.stdout + result.stderr
    checks = exported.get("root_group", {}).get("checks", {})
    return K6Result(result.returncode == 0, result.returncode, exported["metrics"], report, checks)


def promtool(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool, such as `"check", "metrics"` with the metrics as text; status 0 means nothing to complain of."""
    with Box("promtool") as box:
        return box.run(find("promtool"), *arguments, text=text, check=False)


def slowhttptest(url: str, *options: object, seconds: int = 5) -> str:
    """Attack the URL with slow requests for some seconds and return the report; options are its own."""
    with Box("slowhttptest") as box:
        return box.run(find("slowhttptest"), "-u", url, "-l", seconds, *options, limit=seconds + 30).stdout


def chromium_path() -> str:
    """Return where the browser is."""
    return find("chromium")
