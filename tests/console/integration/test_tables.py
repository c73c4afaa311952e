"""Operators sort tables in Chromium, by keyboard, on pages that stay as they are and on live ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.console.chromium import Chromium
from tests.processes import wait_for
from tests.service import Service

SETTINGS = """
[server]
drain_delay = "0s"
operator_networks = ["127.0.0.1"]
[plugins.console]
[plugins.fruit]
"""
FRUIT = """
from itertools import count

from scalekit import hookimpl
from scalekit.pages import *

COLUMNS = (Column("fruit"), Column("delay", Unit.SECONDS), Column("lot"), Column("state"), Column("action"))
ROWS = [("pear", 2.5, "lot 10"), ("fig", None, "lot 9"), ("apple", 0.002, "lot 2"), ("kiwi", 90.0, "lot 1")]
renderings = count()

async def render(view):
    rows = [(*row, Badge("ripe"), ActionForm("eat", {"fruit": row[0]})) for row in ROWS]
    return [DataTable(COLUMNS, rows, "Fruit"), DataTable(COLUMNS[:1], [["one"]], "Single")]

async def render_live(view):
    number = next(renderings)
    rows = [(name, delay and delay + number, lot) for name, delay, lot in ROWS[number % 4 :] + ROWS[: number % 4]]
    return [Facts({"rendering": number}), DataTable(COLUMNS[:3], rows, "Fruit")]

async def eat(values):
    return f"ate {values['fruit']}"

@hookimpl
def scalekit_pages(context):
    actions = [PageAction("eat", "Eat", eat, [FormField("fruit", "Fruit")])]
    basket = ConsolePage("basket", "Basket", render_live, live=True)
    return [ConsolePage("fruit", "Fruit", render, actions=actions), basket]
"""
NAMES = "[...document.querySelectorAll('tbody')[0].rows].map(row => row.cells[0].textContent).join(' ')"
SORTED = "document.querySelector('[aria-sort]')?.textContent + ' ' + document.querySelector('[aria-sort]')?.ariaSort"
RENDERING = "Number(document.querySelector('.facts dd').textContent)"
FROM_SERVER = "pear fig apple kiwi"

pytestmark = [pytest.mark.needs("chromium")]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(SETTINGS, plugins={"fruit": FRUIT}) as service:
        yield service


@pytest.fixture
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


def sort_by(browser: Chromium, column: int) -> Any:
    """Press Enter on the header of *column*, and return the names in order."""
    browser.evaluate(f"document.querySelectorAll('th')[{column}].querySelector('button').focus()")
    browser.press("Enter")
    return browser.evaluate(NAMES)


def wait_for_rendering(browser: Chromium) -> None:
    before = browser.evaluate(RENDERING)
    wait_for("a rendering", lambda: browser.evaluate(RENDERING) > before)


def test_a_column_is_sorted_up_down_and_as_the_server_has_it(service: Service, browser: Chromium) -> None:
    browser.open(f"{service.url}/-/fruit")
    loads = browser.loads
    assert browser.evaluate(NAMES) == FROM_SERVER
    assert browser.evaluate("document.querySelector('[aria-sort]')") is None
    assert sort_by(browser, 0) == "apple fig kiwi pear"
    assert browser.evaluate(SORTED) == "fruit ascending"
    assert sort_by(browser, 0) == "pear kiwi fig apple"
    assert sort_by(browser, 0) == FROM_SERVER
    assert sort_by(browser, 1) == "kiwi pear apple fig", "by value and not by text; the highest first, none last"
    assert browser.evaluate(SORTED) == "delay descending"
    assert sort_by(browser, 1) == "apple pear kiwi fig"
    assert sort_by(browser, 2) == "kiwi apple fig pear", "numbers in texts"
    assert browser.evaluate("document.querySelectorAll('[aria-sort]').length") == 1
    assert browser.evaluate("document.querySelectorAll('button.sort').length") == 4, "not those of buttons or one row"
    assert browser.loads == loads
    assert browser.errors == []


def test_the_order_outlives_a_reload_and_is_that_of_one_page(service: Service, browser: Chromium) -> None:
    browser.open(f"{service.url}/-/fruit")
    sort_by(browser, 0)
    browser.open(f"{service.url}/-/fruit")
    assert browser.evaluate(NAMES) == "apple fig kiwi pear"
    browser.open(f"{service.url}/-/basket")
    assert browser.evaluate("document.querySelector('[aria-sort]')") is None
    assert browser.errors == []


def test_live_updates_keep_the_order_and_the_focus(service: Service, browser: Chromium) -> None:
    browser.open(f"{service.url}/-/basket")
    assert sort_by(browser, 1) == "kiwi pear apple fig"
    browser.evaluate("window.button = document.activeElement")
    for _ in range(3):
        wait_for_rendering(browser)
        assert browser.evaluate(NAMES) == "kiwi pear apple fig"
        assert browser.evaluate(SORTED) == "delay descending"
        assert browser.evaluate("document.activeElement === window.button && window.button.isConnected")
    browser.press("Enter")
    browser.press("Enter")
    wait_for_rendering(browser)
    rendering, shown = browser.evaluate(f"[{RENDERING}, {NAMES}]")
    names = FROM_SERVER.split()
    assert shown.split() == names[rendering % 4 :] + names[: rendering % 4]
    assert browser.errors == []


def test_live_updates_keep_what_is_selected_and_scrolled(service: Service, browser: Chromium) -> None:
    browser.show(390, "light")
    browser.open(f"{service.url}/-/basket")
    browser.evaluate("document.body.style.width = '150px'")
    browser.evaluate(
        "document.querySelector('.scroll').scrollLeft = 20;"
        "getSelection().selectAllChildren(document.querySelector('h2'))"
    )
    wait_for_rendering(browser)
    assert browser.evaluate("getSelection().toString()") == "Fruit"
    assert browser.evaluate("document.querySelector('.scroll').scrollLeft") == 20
