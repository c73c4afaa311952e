"""Chromium, controlled over the DevTools protocol: open pages, evaluate scripts, read errors, run axe."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from websockets.sync.client import connect

from tests.processes import HOST, Box, wait_for
from tests.servers import find

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
TIMEOUT = 240.0
"""Seconds in which the browser must reply: axe takes some on a large page of a busy machine."""
MAX_MESSAGE = 64 * 2**20
ALSO = (
    "css-orientation-lock",
    "focus-order-semantics",
    "label-content-name-mismatch",
    "p-as-heading",
    "table-fake-caption",
    "target-size",
    "td-has-header",
)
"""Rules that axe has off by default, beside those of WCAG 2.1 A and AA and of best practice."""
RUN = """axe.run(document, {{resultTypes: ["violations"], {options}}}).then(found =>
    JSON.stringify(found.violations.map(each => [each.id, each.nodes.map(node => node.html).slice(0, 3)])))"""
AXE = RUN.format(options=f"rules: {json.dumps({rule: {'enabled': True} for rule in ALSO})}")
AXE_COLORS = RUN.format(options='runOnly: {type: "tag", values: ["cat.color"]}')
KEYS = {"Tab": (9, ""), "Enter": (13, "\r")}
"""Code and text of a key."""


class Chromium:
    """One tab; ``errors`` has the exceptions, failed loads and violations of the Content Security Policy."""

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._box = self._stack.enter_context(Box("chromium"))
        self._numbers = count(1)
        self._loads = 0
        self.errors: list[str] = []
        profile = self._box.directory / "profile"
        browser = self._box.spawn(
            find("chromium"), *OPTIONS, *self._options, f"--user-data-dir={profile}", "about:blank"
        )
        file = profile / "DevToolsActivePort"
        port = wait_for("DevTools", lambda: file.read_text().split()[:1], browser)[0]
        with urlopen(f"http://{HOST}:{port}/json/list") as response:
            url = next(each["webSocketDebuggerUrl"] for each in json.load(response) if each["type"] == "page")
        self._connection = self._stack.enter_context(connect(url, max_size=MAX_MESSAGE, proxy=None, ping_interval=None))
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        # Else the end of its load counts as that of the next page.
        wait_for("the first page", lambda: self.evaluate("document.readyState") == "complete")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call *method* of the protocol, and return its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "error" in message:
                    raise ValueError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def open(self, url: str, headers: dict[str, str] | None = None) -> None:
        """Open *url*, and return when the page is loaded."""
        self.call("Network.setExtraHTTPHeaders", headers=headers or {})
        loads = self._loads
        self.call("Page.navigate", url=url)
        self.wait_for_load(loads)

    def wait_for_load(self, loads: int) -> None:
        """Return when more than *loads* pages have been loaded."""
        while self._loads <= loads:
            self._receive()

    @property
    def loads(self) -> int:
        """The number of pages that have been loaded."""
        return self._loads

    def show(self, width: int, theme: str, height: int = 900) -> None:
        """Show pages *width* and *height* pixels large in the *theme* light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def evaluate(self, script: str) -> Any:
        """Return the value of *script*, also of its promise."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise ValueError(found["exceptionDetails"])
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press *key*."""
        code, text = KEYS[key]
        for kind, typed in (("keyDown", text), ("keyUp", "")):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=typed)

    def violations(self) -> list[Any]:
        """Return the violations of accessibility that axe finds in the page."""
        self.evaluate(Path(find("axe.min.js")).read_text())
        found: list[Any] = json.loads(self.evaluate(AXE))
        return found

    def violations_of_colors(self) -> list[Any]:
        """Return those of the rules on colors, in a page in which :meth:`violations` has run."""
        found: list[Any] = json.loads(self.evaluate(AXE_COLORS))
        return found

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(TIMEOUT))
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.errors.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(parameters["exceptionDetails"]))
        return message
