"""The built site in Chromium: no violation of accessibility, no sideways scrolling, a search that finds pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.chromium import Chromium
from tests.processes import wait_for

pytestmark = pytest.mark.needs("chromium", "axe")
WIDE, NARROW = (1400, "light"), (390, "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium("--allow-file-access-from-files") as chromium:
        yield chromium


@pytest.mark.parametrize("page", ["index", "architecture", "plugins/cache", "reference/configuration/server"])
def test_pages_are_accessible_and_fit_into_the_window(page: str, built_site: Path, browser: Chromium) -> None:
    for width, theme in (WIDE, NARROW):
        browser.show(width, theme)
        browser.open((built_site / f"{page}.html").as_uri())
        assert browser.violations() == []
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.errors == []


def test_the_search_needs_no_server(built_site: Path, browser: Chromium) -> None:
    browser.open(f"{(built_site / 'search.html').as_uri()}?q=idempotency")
    titles = "[...document.querySelectorAll('#search-results li a')].map(each => each.textContent)"
    wait_for("results", lambda: "idempotency" in browser.evaluate(titles))
    assert browser.violations() == []


def test_dark_pages_show_dark_diagrams(built_site: Path, browser: Chromium) -> None:
    browser.show(*NARROW)
    browser.open((built_site / "architecture.html").as_uri())
    shown = "[...document.querySelectorAll('article img')].filter(each => each.offsetWidth).map(each => each.src)"
    sources = browser.evaluate(shown)
    assert sources
    assert all(source.endswith("-dark.svg") for source in sources)
