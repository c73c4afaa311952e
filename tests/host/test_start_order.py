from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from scalekit import ConfigError, Key, Lifespan, PluginError, create_app
from scalekit.start_order import missing_requirements, start_order
from scalekit.testing.conformance import bare_application
from tests.plugin_source import Install

POOL: Key[object] = Key("pool", plugin="pool")
QUEUE: Key[object] = Key("queue")


def lifespan(**arguments: Any) -> Lifespan:
    return Lifespan(nullcontext, **arguments)


def test_a_provider_starts_before_the_plugins_that_require_it() -> None:
    order = start_order(
        {
            "a": lifespan(requires=(QUEUE,)),
            "b": lifespan(provides=(POOL,)),
            "c": lifespan(requires=(POOL,), provides=(QUEUE,)),
        }
    )
    assert order == ["b", "c", "a"]


def test_after_orders_only_when_a_provider_exists() -> None:
    after = lifespan(after=(POOL,))
    assert start_order({"a": after, "b": lifespan(provides=(POOL,))}) == ["b", "a"]
    assert start_order({"a": after, "b": lifespan()}) == ["a", "b"]
    assert missing_requirements({"a": after}) == {}


def test_before_orders_and_requires_a_provider() -> None:
    before = lifespan(before=(POOL,))
    assert start_order({"z": before, "a": lifespan(provides=(POOL,))}) == ["z", "a"]
    assert missing_requirements({"z": before}) == {
        ("z",): "requires 'pool', which no enabled plugin provides; turn on [plugins.pool]"
    }


def test_a_missing_requirement_names_the_key_of_the_table() -> None:
    dependent = lifespan(before=(POOL,), required_by_key={POOL: "tags"})
    assert list(missing_requirements({"z": dependent})) == [("z", "tags")]


def test_an_outermost_plugin_starts_before_all_others() -> None:
    items = {"a": lifespan(), "b": lifespan(provides=(POOL,)), "c": lifespan(requires=(POOL,))}
    assert start_order({**items, "z": lifespan(outermost=True)}) == ["z", "a", "b", "c"]


def test_outermost_plugins_are_sorted() -> None:
    """So that logging stops after tracing in every process, and logs what was not sent."""
    outermost = [f"z{number}" for number in range(9)]
    items = {"a": lifespan(), **{name: lifespan(outermost=True) for name in reversed(outermost)}}
    assert start_order(items) == [*outermost, "a"]


def test_the_order_does_not_depend_on_the_order_of_tables() -> None:
    items = {name: lifespan() for name in ("c", "a", "b")}
    assert start_order(items) == start_order(dict(reversed(items.items()))) == ["a", "b", "c"]


def test_a_requirement_without_a_provider_is_reported_with_the_remedy() -> None:
    assert missing_requirements({"a": lifespan(requires=(POOL,)), "b": lifespan(requires=(QUEUE,))}) == {
        ("a",): "requires 'pool', which no enabled plugin provides; turn on [plugins.pool]",
        ("b",): "requires 'queue', which no enabled plugin provides",
    }


def test_two_providers_are_refused() -> None:
    with pytest.raises(PluginError, match="'pool' is provided by both 'a' and 'b'; turn one off"):
        start_order({"a": lifespan(provides=(POOL,)), "b": lifespan(provides=(POOL,))})


def test_a_cycle_is_refused_with_its_names() -> None:
    with pytest.raises(PluginError, match=r"plugins depend on each other in a cycle: (a -> b -> a|b -> a -> b)"):
        start_order(
            {
                "a": lifespan(provides=(POOL,), requires=(QUEUE,)),
                "b": lifespan(provides=(QUEUE,), requires=(POOL,)),
            }
        )


def test_a_missing_requirement_is_a_mistake_of_the_file(install: Install) -> None:
    source = (
        "from contextlib import nullcontext\n"
        "from scalekit import Key, Lifespan, hookimpl\n"
        "@hookimpl\n"
        "def scalekit_lifespan(context): return Lifespan(nullcontext, requires=(Key('gold', plugin='mine'),))\n"
    )
    install("greedy", source)
    install("needy", source)
    with pytest.raises(ConfigError) as caught:
        create_app({"plugins": {"greedy": {}, "needy": {}}}, app=bare_application)
    assert [problem.plugin for problem in caught.value.problems] == ["greedy", "needy"]
    assert "turn on [plugins.mine]" in str(caught.value)
