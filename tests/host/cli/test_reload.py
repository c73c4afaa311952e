"""``scalekit run --reload`` starts the service again when its code or file changes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.processes import wait_for
from tests.service import Service

APPLICATION = """\
async def app(scope, receive, send):
    body = b"{word}"
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})
"""


class Reloading(Service):
    """``scalekit run --reload``."""

    def command(self) -> list[object]:
        return [*super().command(), "--reload"]

    def write(self, name: str, text: str) -> None:
        (self.box.directory / name).write_text(text)

    def wait_for_response(self, path: str, text: str) -> None:
        def responds() -> bool:
            try:
                return text in self.get(path)
            except OSError:
                return False

        wait_for(f"{text!r} at {path}", responds, self.process)


@pytest.fixture
def service() -> Iterator[Reloading]:
    with Reloading(sources={"service": APPLICATION.format(word="one")}) as running:
        yield running


def test_a_change_of_code_and_of_the_file_is_served(service: Reloading) -> None:
    service.wait_for_response("/", "one")
    service.write("service.py", APPLICATION.format(word="two"))
    service.wait_for_response("/", "two")
    service.wait_for_log("changed: service.py")
    service.write("scalekit.toml", "[plugins.metrics]\n")
    service.wait_for_response("/metrics", "process_")


def test_after_a_mistake_the_next_change_is_served(service: Reloading) -> None:
    service.wait_for_response("/", "one")
    service.write("scalekit.toml", "[plugins.metrix]\n")
    service.wait_for_log("did you mean 'metrics'")
    service.write("scalekit.toml", "")
    service.wait_for_response("/", "one")
    service.write("service.py", "app = 1 +\n")
    service.wait_for_log("SyntaxError")
    service.write("service.py", APPLICATION.format(word="three"))
    service.wait_for_response("/", "three")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_service_too(service: Reloading, number: signal.Signals) -> None:
    service.wait_for_response("/", "one")
    service.signal(number)
    assert service.wait() == 0
    with pytest.raises(OSError, match="refused"):
        service.get("/")
