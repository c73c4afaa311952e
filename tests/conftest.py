"""What every test shares: the event loop, and the mark for tests that need real servers."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.servers import missing

UNMET = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# A busy machine is slow, which is no failure; and CI tries the same examples every time.
settings.register_profile("scalekit", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("scalekit")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*servers): skip, or fail where CI=true, without these servers")
    config.stash[UNMET] = {}


@pytest.hookimpl(tryfirst=True)  # before any fixture starts a server
def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = [name for mark in item.iter_markers("needs") for name in mark.args]
    absent = missing(*wanted) if wanted else []
    for name in absent:
        item.config.stash[UNMET].setdefault(name, []).append(item.nodeid)
    if absent:
        reason = f"not installed: {', '.join(absent)} (run tests/install_servers.sh)"
        end_test = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end_test(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    unmet = config.stash[UNMET]
    if unmet:
        servers = "; ".join(f"{name} (for {', '.join(tests)})" for name, tests in sorted(unmet.items()))
        terminalreporter.write_line(f"servers missing: {servers}", yellow=True)
