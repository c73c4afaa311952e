"""Tools that load, attack and check services."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.processes import Box
from tests.servers import find

PATIENCE = 60
"""Seconds that a response may take."""
LONGEST = 600
"""Seconds after which a load ends without a call of finish()."""
SUMMARY = "summary.json"
K6_INTERRUPTED = 105
"""k6's exit status after SIGINT, whatever its result."""


@dataclass(frozen=True)
class WrkResult:
    """A result of wrk; latencies are in seconds."""

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


def wrk(url: str, *options: str, connections: int = 16, seconds: int = 3) -> WrkResult:
    """Load the URL for *seconds*; options are wrk's, such as `"-H", "name: value"` or `"-s", script`."""
    with Box("wrk") as box:
        command = _wrk_command(url, options, connections, seconds)
        return read_wrk(box.run(*command, limit=seconds + PATIENCE).stdout)


@contextmanager
def wrk_load(
    url: str, *options: str, connections: int = 64, at_least: float = 3.0
) -> Iterator[Callable[[], WrkResult]]:
    """Load the URL inside the block; yield a function that ends it after *at_least* seconds and returns its result."""
    with Box("wrk") as box:
        began = time.monotonic()
        process = box.spawn(*_wrk_command(url, options, connections, LONGEST), log="report")

        def finish() -> WrkResult:
            time.sleep(max(0.0, began + at_least - time.monotonic()))
            box.stop(process, signal.SIGINT)
            return read_wrk((box.directory / "report").read_text())

        yield finish


def _wrk_command(url: str, options: Sequence[str], connections: int, seconds: int) -> list[object]:
    # On a busy machine a response may take longer than wrk's two seconds.
    arguments = ["--latency", "--timeout", f"{PATIENCE}s", "-t1", f"-c{connections}", f"-d{seconds}s"]
    return [find("wrk"), *arguments, *options, url]


def read_wrk(report: str) -> WrkResult:
    """Parse wrk's report, which has lines on errors only when there are any."""
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
        raise ValueError(f"the report has no match of {pattern!r}:\n{text}")
    return match[1] if match else str(default)


def _seconds(duration: str) -> float:
    number, unit = duration.rstrip("hmnsu"), duration.lstrip("0123456789.")
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}[unit]


@dataclass(frozen=True)
class K6Result:
    """The result of a k6 script; *passed* means no error and no crossed threshold."""

    passed: bool
    status: int
    metrics: dict[str, dict[str, Any]]
    report: str
    checks: dict[str, dict[str, Any]]


def k6(script: Path, *options: str, limit: float = 120.0, **environment: object) -> K6Result:
    """Run a script with the keywords in `__ENV`; metrics are those of `--summary-export`."""
    with Box("k6") as box:
        result = box.run(*_k6_command(box, script, options, environment), check=False, limit=limit)
        return _read_k6(box, result.returncode, result.stdout + result.stderr)


@contextmanager
def k6_load(script: Path, at_least: float = 3.0, **environment: object) -> Iterator[Callable[[], K6Result]]:
    """Run a script inside the block; yield a function that ends it after *at_least* seconds and returns its result.

    The run has passed when it crossed no threshold.
    """
    with Box("k6") as box:
        began = time.monotonic()
        variables = {"DURATION": f"{LONGEST}s", **environment}
        process = box.spawn(*_k6_command(box, script, (), variables), log="report")

        def finish() -> K6Result:
            time.sleep(max(0.0, began + at_least - time.monotonic()))
            box.stop(process, signal.SIGINT)
            status = 0 if process.returncode == K6_INTERRUPTED else process.returncode
            result = _read_k6(box, status, (box.directory / "report").read_text())
            return replace(result, passed=result.passed and _within_thresholds(result))

        yield finish


def _k6_command(box: Box, script: Path, options: Sequence[str], environment: Mapping[str, object]) -> list[object]:
    box.environment["K6_AUTO_EXTENSION_RESOLUTION"] = "false"  # else it may fetch another k6
    summary = box.write(SUMMARY, '{"metrics": {}}')
    quiet = ["--quiet", "--no-color", "--no-usage-report", "--address="]  # no port of its own
    variables = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
    return [find("k6"), "run", *quiet, f"--summary-export={summary}", *variables, *options, script.absolute()]


def _read_k6(box: Box, status: int, report: str) -> K6Result:
    exported = json.loads((box.directory / SUMMARY).read_text())
    checks = exported.get("root_group", {}).get("checks", {})
    return K6Result(status == 0, status, exported["metrics"], report, checks)


def _within_thresholds(result: K6Result) -> bool:
    """Return whether there are thresholds and none is crossed; in this format true means crossed."""
    crossed = [each for metric in result.metrics.values() for each in metric.get("thresholds", {}).values()]
    return bool(crossed) and not any(crossed)


def promtool(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool, such as `"check", "metrics"` with the metrics as text; status 0 means no complaint."""
    with Box("promtool") as box:
        return box.run(find("promtool"), *arguments, text=text, check=False)


def slowhttptest(url: str, *options: object, seconds: int = 5) -> str:
    """Attack the URL with slow requests for *seconds* and return the report; options are slowhttptest's."""
    with Box("slowhttptest") as box:
        return box.run(find("slowhttptest"), "-u", url, "-l", seconds, *options, limit=seconds + 30).stdout


def chromium_path() -> str:
    """Return the path of the browser."""
    return find("chromium")
