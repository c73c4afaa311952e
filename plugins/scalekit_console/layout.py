"""The frame of every page: head, navigation and content."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from scalekit.pages import ConsolePage, PageRegistry
from scalekit_console.access import CSRF_FIELD, Operator, cookie_path
from scalekit_console.assets import Assets
from scalekit_console.elements import Child, Html, element, join

INDEX = "index"
SCRIPTS = ("tables.js", "console.js")
"""In the order in which they run."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every page. With the referrer policy ``no-referrer`` the Origin of a form would be null."""


def html_response(markup: Html, status: int = 200) -> Response:
    """Return the response with a page."""
    return Response(markup.encode(), status, HEADERS, "text/html; charset=utf-8")


class Layout:
    """Puts the content of a page into the frame; *name* is that of the service."""

    def __init__(self, pages: PageRegistry, assets: Assets, name: str) -> None:
        self._pages = pages
        self._assets = assets
        self._name = name or "ScaleKit"

    def base(self, request: Request) -> str:
        """Return the path of the index as the client sees it."""
        return cookie_path(request)

    def page(self, request: Request, page: ConsolePage, operator: Operator, content: Child, csrf_token: str) -> Html:
        """Return *page* with *content* beside the navigation."""
        base = self.base(request)
        navigation = self._navigation(base, page)
        logout = element(
            "form",
            element("input", type="hidden", name=CSRF_FIELD, value=csrf_token),
            element("button", "Sign out"),
            method="post",
            action=f"{base}logout",
        )
        body = [
            element("a", "Skip to content", href="#content", class_="skip"),
            element(
                "header",
                element("a", self._name, href=base, class_="brand"),
                logout if operator.by == "session" else None,
            ),
            element(
                "nav",
                element("details", element("summary", "Menu"), navigation, class_="menu"),
                aria_label="Pages",
                class_="phone",
            ),
            element("nav", navigation, aria_label="Pages", class_="side"),
            element("main", element("h1", page.title), content, id="content", tabindex=-1, data_page=page.name),
        ]
        return self._document(base, page.title, body)

    def plain(self, request: Request, title: str, content: Child) -> Html:
        """Return a page without navigation."""
        body = element("main", element("h1", title), content, id="content", class_="plain")
        return self._document(self.base(request), title, [body])

    def _document(self, base: str, title: str, body: Iterable[Child]) -> Html:
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", name="robots", content="noindex"),
            element("title", f"{title} \N{MIDDLE DOT} {self._name}"),
            element("link", rel="icon", href="data:,"),
            element("link", rel="stylesheet", href=f"{base}assets/{self._assets.name_of('console.css')}"),
            [element("script", src=f"{base}assets/{self._assets.name_of(name)}", defer=True) for name in SCRIPTS],
        )
        return join([Html("<!doctype html>"), element("html", head, element("body", *body), lang="en")])

    def _navigation(self, base: str, current: ConsolePage) -> Html:
        groups: dict[str, list[Html]] = {}
        for page in self._pages:
            if page.name != INDEX:
                here = "page" if page is current else None
                link = element("a", page.title, href=f"{base}{page.name}", aria_current=here)
                groups.setdefault(page.group.value, []).append(element("li", link))
        return join([element("p", name), element("ul", *links)] for name, links in groups.items())
