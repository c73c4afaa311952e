"""The catalogue of metrics that plugins declare."""

from __future__ import annotations

from types import ModuleType

import pytest

from scalekit import create_app
from scalekit.errors import PluginError
from scalekit.telemetry import TELEMETRY, Alert, Counter, Gauge, catalogue, instruments_in
from scalekit.testing.conformance import bare_application
from scalekit_redis import redis_instruments
from tests.plugin_source import Install

GREETED = Counter("greeted", "Guests.", ("how",), alert=Alert("Too many guests.", "Close the door.", threshold=5))
WAITING = Gauge("waiting", "Guests waiting.")
SHARED = Counter("greeted_everywhere", "Guests greeted by all.", group="guests")
PLUGIN = """
from scalekit import hookimpl
from scalekit_redis import redis_instruments
from scalekit.telemetry import Counter

@hookimpl
def scalekit_metrics(context):
    return {result}
"""


def test_a_module_declares_its_metrics_and_nothing_else() -> None:
    module = ModuleType("metrics")
    vars(module).update(GREETED=GREETED, WAITING=WAITING, Counter=Counter, BUCKETS=(0.1,), alert=GREETED.alert)
    assert instruments_in(module) == [GREETED, WAITING]
    assert instruments_in(module, module) == [GREETED, WAITING] * 2


def test_an_instrument_of_a_group_is_listed_once_and_an_owner_without_instruments_not_at_all() -> None:
    other = Gauge("other", "Others.")
    known = catalogue({"one": [SHARED], "two": [SHARED, other], "none": []})
    assert known == {"guests": [SHARED], "two": [other]}


def test_the_catalogue_lists_the_metrics_of_plugins_and_host(install: Install) -> None:
    install("greeting", PLUGIN.format(result='[Counter("greeted", "Greeted.")]'))
    install("remembering", PLUGIN.format(result='redis_instruments("redis://127.0.0.1")'))
    install("silent", PLUGIN.format(result="[]"))
    plugins: dict[str, dict[str, str]] = {"greeting": {}, "remembering": {}, "silent": {}}
    known = create_app({"plugins": plugins}, app=bare_application).context.get(TELEMETRY).catalogue
    assert list(known) == ["host", "greeting", "redis"]
    assert [each.name for each in known["greeting"]] == ["greeted"]
    assert list(known["redis"]) == list(redis_instruments("redis://127.0.0.1"))
    assert "scalekit_workers" not in {each.name for each in known["host"]}


def test_the_catalogue_has_worker_metrics_only_with_workers() -> None:
    app = create_app({"server": {"workers": 2}}, app=bare_application)
    assert "scalekit_workers" in {each.name for each in app.context.get(TELEMETRY).catalogue["host"]}


def test_a_plugin_that_returns_no_instrument_is_refused(install: Install) -> None:
    install("wrong", PLUGIN.format(result='["greeted"]'))
    with pytest.raises(PluginError, match="plugin 'wrong': scalekit_metrics must return Instrument"):
        create_app({"plugins": {"wrong": {}}}, app=bare_application)
