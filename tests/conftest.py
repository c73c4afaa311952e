"""Shared by all tests: the event loop, marks, the seed of hypothesis, and a report of missing servers."""

from __future__ import annotations

import gc
import os
import re
import resource
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from tests.kinds import mark
from tests.plugin_source import install  # noqa: F401 - a fixture
from tests.seed import seed
from tests.servers import missing

MARKS = (
    "needs(*servers): skip, or fail where CI=true, without these servers",
    "every_python: runs under the oldest and the newest supported Python too, as those with the mark unit",
    "process: starts a process in a way that its code does not show",
    "slow: takes seconds though it needs no server",
    "load: loads the whole machine, which one test at a time may do (set by tests/kinds.py)",
    "unit: is quick and needs no server and no other process (set by tests/kinds.py)",
)
ADDRESS = re.compile(r" at 0x[0-9a-f]")
MISSING = "missing servers"
ENDED = pytest.StashKey[int]()

# Slowness of a busy machine is not a failure.
settings.register_profile(
    "scalekit", deadline=None, derandomize=False, print_blob=False, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("scalekit")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.hookimpl(tryfirst=True)  # before hypothesis reads its option
def pytest_configure(config: pytest.Config) -> None:
    for line in MARKS:
        config.addinivalue_line("markers", line)
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = seed()  # pytest-xdist passes it to its workers
    config.pluginmanager.register(MissingServers())


def pytest_report_header(config: pytest.Config) -> str:
    return f"hypothesis: {_how_to_repeat(config)}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, since nearly all new objects stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ADDRESS.search(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid}: its name differs in each process; give its parameters ids")
        mark(item)


def pytest_collection_finish() -> None:
    """Exclude the half a million objects of the collected tests from garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before any fixture starts a server
def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = [name for each in item.iter_markers("needs") for name in each.args]
    absent = missing(*wanted) if wanted else []
    item.stash[ENDED] = _ended_processes()
    if absent:
        item.user_properties.append((MISSING, absent))
        reason = f"not installed: {', '.join(absent)} (run tests/install_servers.sh)"
        end_test = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end_test(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # pytest-xdist cannot send a lone surrogate, which a test may have logged.
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    # The last teardown of a module includes that of its fixtures.
    is_judged = report.passed and report.when != "teardown" and item.get_closest_marker("unit")
    if is_judged and _ended_processes() != item.stash[ENDED]:
        report.outcome, report.longrepr = "failed", "it starts a process: mark it with pytest.mark.process"
    if report.failed and is_hypothesis_test(getattr(item, "obj", None)):
        report.sections.append(("hypothesis", f"draw the same examples with {_how_to_repeat(item.config)}"))
    return report


def _how_to_repeat(config: pytest.Config) -> str:
    return f"HYPOTHESIS_SEED={config.option.hypothesis_seed}"


def _ended_processes() -> int:
    """Return a number that changes when a child process ends."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt


class MissingServers:
    """Reports the missing servers at the end, including those of pytest-xdist workers."""

    def __init__(self) -> None:
        self._tests: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for key, names in report.user_properties:
            if key == MISSING and report.when == "setup" and isinstance(names, list):
                for name in names:
                    self._tests.setdefault(name, []).append(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._tests:
            servers = "; ".join(f"{name} (for {', '.join(tests)})" for name, tests in sorted(self._tests.items()))
            terminalreporter.write_line(f"servers missing: {servers}", yellow=True)
