"""Login, live pages, actions and logout in Chromium, however the console is served."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.console.chromium import Chromium
from tests.console.setups import OPTIONS, SETUPS, Served
from tests.processes import wait_for

pytestmark = [pytest.mark.needs("chromium", "nginx"), pytest.mark.process]
RENDERING = "Number(document.querySelector('.facts dd').textContent)"
RESULT = "document.querySelector('.notice.good').textContent"
PATH = "location.pathname"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium(*OPTIONS) as browser:
        yield browser


def submit(browser: Chromium, field: str, value: str | None = None) -> None:
    """Submit the form with *field*, and return when the next page is loaded."""
    loads = browser.loads
    if value is not None:
        browser.evaluate(f"document.querySelector('{field}').value = '{value}'")
    browser.evaluate(f"document.querySelector('{field}').form.querySelector('button').click()")
    browser.wait_for_load(loads)


def sign_in(browser: Chromium, served: Served) -> None:
    browser.open(f"{served.url}/-/clock")
    assert browser.evaluate(PATH) == f"{base_of(served)}login"
    submit(browser, "#token", served.token)
    assert browser.evaluate(PATH) == base_of(served)


def base_of(served: Served) -> str:
    return f"{urlsplit(served.url).path}/-/"


def wait_for_rendering(browser: Chromium) -> None:
    first = browser.evaluate(RENDERING)
    wait_for("live renderings", lambda: browser.evaluate(RENDERING) > first + 1)


@pytest.mark.parametrize("name", SETUPS)
def test_an_operator_signs_in_looks_acts_and_signs_out(name: str, browser: Chromium) -> None:
    with SETUPS[name]() as served:
        browser.errors.clear()
        sign_in(browser, served)
        browser.open(f"{served.url}/-/clock")
        wait_for_rendering(browser)
        submit(browser, "input[name=turns]", "3")
        wait_for_rendering(browser)
        assert browser.evaluate(RESULT) == "wound by 3"
        served.service.wait_for_log("action clock/wind turns='3' by ")
        submit(browser, "header input[name=csrf_token]")
        browser.open(f"{served.url}/-/clock")
        assert browser.evaluate(PATH) == f"{base_of(served)}login"
        # A name over plain HTTP is no trustworthy origin, for which browsers have this header.
        ignored = "Cross-Origin-Opener-Policy header has been ignored"
        assert [error for error in browser.errors if ignored not in error] == []


def test_services_on_one_host_have_sessions_of_their_own(browser: Chromium) -> None:
    with SETUPS["tls"]() as first, SETUPS["plain"]() as second:
        for served in (first, second):
            sign_in(browser, served)
        for served in (first, second):
            browser.open(f"{served.url}/-/clock")
            submit(browser, "input[name=turns]", "3")
            assert browser.evaluate(RESULT) == "wound by 3"


def test_a_hidden_tab_has_no_stream(browser: Chromium) -> None:
    with SETUPS["plain"]() as served:
        sign_in(browser, served)
        browser.open(f"{served.url}/-/clock")
        wait_for_rendering(browser)
        browser.evaluate(
            "window.closedStreams = 0; EventSource.prototype.close = new Proxy(EventSource.prototype.close, "
            "{apply: (close, source) => (window.closedStreams++, close.call(source))}); undefined"
        )
        show = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        show += "document.dispatchEvent(new Event('visibilitychange'))"
        browser.evaluate(show % "true")
        assert browser.evaluate("window.closedStreams") == 1
        browser.evaluate(show % "false")
        wait_for_rendering(browser)


def test_a_live_page_says_when_it_is_not_connected_and_connects_again(browser: Chromium) -> None:
    with SETUPS["plain"]() as served:
        sign_in(browser, served)
        browser.open(f"{served.url}/-/clock")
        wait_for_rendering(browser)
        shown = "!document.querySelector('p.notice.warning').hidden"
        assert not browser.evaluate(shown)
        served.service.kill()
        wait_for("the notice", lambda: browser.evaluate(shown))
        assert "Not connected" in browser.evaluate("document.querySelector('p.notice.warning').textContent")
        served.service.start()
        sign_in(browser, served)
