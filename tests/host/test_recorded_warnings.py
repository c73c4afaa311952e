from __future__ import annotations

import logging
from io import StringIO

import pytest

from scalekit.recorded_warnings import LOGGER, MAX_TEXT, MAX_WARNINGS, RecordedWarnings

PLUGIN = logging.getLogger("scalekit.plugin")


def test_warnings_of_plugins_are_recorded_only_while_the_application_is_built() -> None:
    recorded = RecordedWarnings()
    with recorded.building():
        PLUGIN.warning("of a plugin: %s", "a")
        LOGGER.warning("of the host")
    with recorded.recording():
        PLUGIN.warning("of a server")
        LOGGER.warning("of the host")
        LOGGER.warning("of a request")
        LOGGER.error("a failure")
    LOGGER.warning("after the end")
    assert recorded.counts == {"of a plugin: a": 1, "of the host": 2, "of a request": 1}


def test_the_warnings_are_bounded() -> None:
    recorded = RecordedWarnings()
    with recorded.recording():
        for number in range(MAX_WARNINGS * 2):
            LOGGER.warning("%d %s", number, "x" * 2 * MAX_TEXT)
    assert len(recorded.counts) == MAX_WARNINGS
    assert {len(text) for text in recorded.counts} == {MAX_TEXT}


def test_what_no_handler_shows_is_shown_once_by_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(LOGGER, "propagate", False)
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(shown))
    with RecordedWarnings().recording(), RecordedWarnings().recording():
        PLUGIN.warning("an action")
        PLUGIN.info("not shown")
        assert shown.getvalue() == "an action\n"
        monkeypatch.setattr(PLUGIN, "handlers", [logging.NullHandler()])
        PLUGIN.warning("shown elsewhere")
    assert shown.getvalue() == "an action\n"
