from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from scalekit import ConfigError, PluginError, create_app, hookspecs
from scalekit.plugins import installed
from scalekit.testing import ReceivedResponse, request, running
from scalekit.testing.conformance import bare_application
from tests.plugin_source import Install

NOTHING = "from scalekit import hookimpl\n"


def build(*names: str, **tables: Any) -> Any:
    return create_app({"plugins": {name: {} for name in names} | tables}, app=bare_application)


def refusal(*names: str) -> str:
    with pytest.raises((ConfigError, PluginError)) as caught:
        build(*names)
    return str(caught.value)


def test_an_async_hook_is_refused(install: Install) -> None:
    install("asy", NOTHING + "@hookimpl\nasync def scalekit_routes(context): return []")
    assert (
        "plugins.asy: hook scalekit_routes must not be async: return the awaitable or the lifespan instead"
        in refusal("asy")
    )


def test_a_plugin_that_does_not_import_is_named_and_the_others_are_still_checked(install: Install) -> None:
    module = install("broken", "import nothing_here")
    install("worse", "1 / 0")
    message = refusal("broken", "worse", "visits")
    assert f"plugins.broken: {module} did not load: No module named 'nothing_here'" in message
    assert "did not load: ZeroDivisionError: division by zero (" in message
    assert "visits" not in message


def test_a_missing_extra_is_reported_with_the_pip_install_command(install: Install) -> None:
    install("needy", "import nothing_here", distribution="acme-plugins", extras=("needy",))
    assert "pip install 'acme-plugins[needy]'" in refusal("needy")


def test_a_broken_plugin_that_is_not_enabled_stops_nothing(install: Install) -> None:
    install("broken", "import nothing_here")
    assert build("visits")


def test_only_enabled_plugins_are_imported(install: Install) -> None:
    on, off = install("lit", NOTHING), install("dark", NOTHING)
    build("lit")
    assert on in sys.modules
    assert off not in sys.modules


def test_two_plugins_of_one_name_are_refused(install: Install) -> None:
    first = install("twin", NOTHING, distribution="dist-one")
    second = install("twin", NOTHING, distribution="dist-two")
    message = refusal("twin")
    assert "is installed twice" in message
    assert first in message
    assert second in message
    assert build("visits"), "a plugin that is not enabled is not loaded"


def test_an_unknown_plugin_is_refused_with_the_nearest_name() -> None:
    assert "plugins.visit: no such plugin is installed; did you mean 'visits'?" in refusal("visit")


def test_a_misspelt_hook_is_refused(install: Install) -> None:
    install("typo", NOTHING + "@hookimpl\ndef scalekit_rutes(context): return []")
    message = refusal("typo", "visits")
    assert "scalekit_rutes" in message
    assert "plugins.visits" not in message


def test_a_hook_without_its_mark_is_refused(install: Install) -> None:
    install("bare", "def scalekit_routes(context): return []")
    assert "hook scalekit_routes is not marked with @hookimpl" in refusal("bare")


def test_a_wrong_argument_name_is_refused(install: Install) -> None:
    install("args", NOTHING + "@hookimpl\ndef scalekit_routes(ctx): return []")
    assert "Argument(s) {'ctx'} are declared in the hookimpl but can not be found" in refusal("args")


def test_a_plugin_for_other_hooks_is_refused_with_both_versions(install: Install) -> None:
    install("older", NOTHING + f"scalekit_hooks_version = {hookspecs.VERSION - 1}")
    install("same", NOTHING + f"scalekit_hooks_version = {hookspecs.VERSION}")
    message = refusal("older", "same")
    assert f"plugins.older: is written for version {hookspecs.VERSION - 1} of the hooks" in message
    assert f"this host has version {hookspecs.VERSION}" in message
    assert "plugins.same" not in message


def test_a_hook_may_take_fewer_arguments(install: Install) -> None:
    install("few", NOTHING + "@hookimpl\ndef scalekit_routes(): return []")
    assert build("few").routes == {}


def test_an_entry_point_must_name_a_module(install: Install) -> None:
    module = install("instance", "class Plugin: pass\nplugin = Plugin()")
    sys.modules[module] = object()  # type: ignore[assignment]
    assert "must be a module of hooks" in refusal("instance")


def test_a_failing_hook_names_plugin_and_hook(install: Install) -> None:
    install("boom", NOTHING + "@hookimpl\ndef scalekit_routes(context): raise KeyError('no routes today')")
    assert refusal("boom").startswith("plugin 'boom' failed in scalekit_routes: KeyError: 'no routes today' (")


def test_mistakes_that_several_plugins_find_are_reported_together(install: Install) -> None:
    source = (
        "from scalekit import ConfigError, hookimpl\nfrom scalekit.errors import Problem\n"
        "@hookimpl\ndef scalekit_lifespan(context):\n    raise ConfigError([Problem('{} is alone', 'plugins.{}')])\n"
    )
    for name in ("first", "second"):
        install(name, source.format(name, name))
    with pytest.raises(ConfigError) as caught:
        build("first", "second")
    assert [problem.message for problem in caught.value.problems] == ["first is alone", "second is alone"]


def test_all_plugins_with_state_per_worker_are_reported_together() -> None:
    tables = {"cache": {}, "cluster-cache": {}, "ratelimit": {"default": "5/s"}}
    with pytest.raises(ConfigError) as caught:
        create_app({"server": {"workers": 4}, "plugins": tables}, app=bare_application)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["plugins.cache.url", "plugins.cluster-cache.nodes", "plugins.ratelimit.url"]
    assert all("; " in problem.message and "per_worker = true" in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("hook", "result", "message"),
    [
        ("scalekit_config()", "dict", "scalekit_config must return a subclass of scalekit.Table"),
        ("scalekit_lifespan(context)", "3", "scalekit_lifespan must return Lifespan, got 3"),
        ("scalekit_filters(context)", "[object]", "scalekit_filters must return LayeredFilter, got"),
        ("scalekit_routes(context)", "'x'", "scalekit_routes must return BaseRoute, got 'x'"),
        ("scalekit_health(context)", "{}", "scalekit_health must return Check, got {}"),
    ],
)
def test_a_hook_result_of_the_wrong_type_is_refused(hook: str, result: str, message: str, install: Install) -> None:
    install("odd", NOTHING + f"@hookimpl\ndef {hook}: return {result}")
    assert f"plugin 'odd': {message}" in refusal("odd")


def test_hook_results_are_assigned_to_their_plugins_when_some_return_none(install: Install) -> None:
    source = NOTHING + "from scalekit import Check\n@hookimpl\ndef scalekit_health(context): return {}"
    install("first", source.format("[Check('a', print)]"))
    install("second", source.format("None"))
    install("third", source.format("[Check('third', print)]"))
    assert list(build("first", "second", "third").monitor.results) == ["first.a", "third"]


def test_a_plugin_without_a_model_takes_an_empty_table_only(install: Install) -> None:
    install("plain", NOTHING)
    assert build("plain")
    with pytest.raises(ConfigError, match="takes no configuration"):
        build(plain={"x": 1})


def test_a_value_in_place_of_a_plugins_table_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"expected a table, got bool; write \[plugins.visits\]"):
        build(visits=True)


def test_layers_order_the_chain_whatever_the_order_of_tables_and_plugins(install: Install) -> None:
    source = NOTHING + (
        "from scalekit import Layer, LayeredFilter, Middleware\n"
        "from tests.host.spans import Trace\n"
        "@hookimpl\n"
        "def scalekit_filters(context):\n"
        "    return [LayeredFilter(Layer[name], Middleware(Trace, name + '-{0}')) for name in {1}]\n"
    )
    install("zeta", source.format("zeta", ["LOG", "RESOURCES"]))
    install("alpha", source.format("alpha", ["CACHE", "LOG", "LIMIT_SUBJECT"]))
    install("mid", source.format("mid", ["AUTHENTICATE", "METRICS", "LIMIT_CLIENT"]))
    response = asyncio.run(once(build("zeta", "mid", "alpha")))
    assert response.header("trace") == (
        "LOG-alpha LOG-zeta METRICS-mid LIMIT_CLIENT-mid AUTHENTICATE-mid LIMIT_SUBJECT-alpha CACHE-alpha"
        " RESOURCES-zeta"
    )


def test_equal_middleware_of_two_plugins_is_in_the_chain_once(install: Install) -> None:
    source = NOTHING + (
        "from scalekit import Layer, LayeredFilter, Middleware\n"
        "from tests.host.spans import Trace\n"
        "@hookimpl\n"
        "def scalekit_filters(context):\n"
        "    names = ['shared', '{0}']\n"
        "    layers = (Layer.LOG, Layer.RESOURCES)\n"
        "    return [LayeredFilter(layer, Middleware(Trace, n)) for n in names for layer in layers]\n"
    )
    install("one", source.format("one"))
    install("two", source.format("two"))
    response = asyncio.run(once(build("one", "two")))
    assert response.header("trace") == "shared one two shared one two"


def test_a_base_http_middleware_is_refused(install: Install) -> None:
    source = NOTHING + (
        "from starlette.middleware.base import BaseHTTPMiddleware\n"
        "from scalekit import Layer, LayeredFilter, Middleware\n"
        "class Slow(BaseHTTPMiddleware): pass\n"
        "@hookimpl\n"
        "def scalekit_filters(context): return [LayeredFilter(Layer.LOG, Middleware(Slow))]\n"
    )
    install("slow", source)
    assert refusal("slow") == "plugin 'slow': Slow is a BaseHTTPMiddleware; write a pure ASGI class"


def test_an_object_that_is_not_a_filter_is_refused(install: Install) -> None:
    source = NOTHING + (
        "from scalekit import Filter, Layer, LayeredFilter\n"
        "class Notes(Filter): pass\n"
        "@hookimpl\n"
        "def scalekit_filters(context): return [LayeredFilter(Layer.LOG, {0})]\n"
    )
    install("number", source.format("7"))
    install("class", source.format("Notes"))
    remedy = "is not a filter; make it an instance of a subclass of scalekit.Filter, or a Middleware"
    assert refusal("number") == f"plugin 'number': 7 {remedy}"
    assert refusal("class").endswith(f".Notes'> {remedy}")


def test_two_applications_have_nothing_in_common() -> None:
    async def two() -> list[str | None]:
        first, second = build(visits={"limit": 1}), build("visits")
        async with running(first) as one, running(second) as other:
            for app, state in ((first, one), (first, one), (second, other)):
                response = await request(app, "/", state=state)
                seen.append(response.header("x-visits"))
        return seen

    seen: list[str | None] = []
    assert asyncio.run(two()) == ["1", "2", "1"]


def test_the_installed_plugins_are_listed_with_their_distribution() -> None:
    (visits,) = installed()["visits"]
    assert (visits.module, visits.distribution, visits.version) == ("scalekit_visits.plugin", "scalekit-visits", "1.0")


async def once(app: Any) -> ReceivedResponse:
    async with running(app) as state:
        return await request(app, "/", state=state)
