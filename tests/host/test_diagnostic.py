"""Findings that several plugins have: stores that instances do not share, and clocks."""

from __future__ import annotations

import pytest

from scalekit import INSTANCES, Context, Finding, Key, Severity, clock_findings, process_count, separate_stores
from scalekit.config.tables import Server

pytestmark = pytest.mark.anyio
DATABASE: Key[str] = Key("database")


def context_of(workers: int | None, instances: int) -> Context:
    context = Context(Server(workers=workers), {})
    context.provide(INSTANCES, instances)
    return context


def test_processes_are_the_workers_of_all_instances() -> None:
    assert process_count(context_of(None, 3)) == 3
    assert process_count(context_of(4, 3)) == 12
    assert process_count(Context(Server(workers=4), {})) == 4


async def test_a_store_is_separate_with_several_instances_unless_a_plugin_provides_another() -> None:
    context = context_of(None, 2)
    arguments = ("each has its own", "plugins.x.url", "share it")
    (always,) = separate_stores(context, Severity.ERROR, *arguments)
    (unless,) = separate_stores(context, Severity.ERROR, *arguments, unless=DATABASE)
    assert [each.message for each in await unless.probe()] == ["2 instances do not share the store: each has its own"]
    context.provide(DATABASE, "database")
    assert await unless.probe() == []
    assert [each.key for each in await always.probe()] == ["plugins.x.url"]
    (single,) = separate_stores(context_of(8, 1), Severity.ERROR, *arguments)
    assert await single.probe() == []


def test_clocks_that_differ_are_found() -> None:
    found = [each for offset in (-3.0, 0.5, 60.0) for each in clock_findings(offset, "Redis", "plugins.cache.url")]
    assert [each.value for each in found] == ["-3.0 s", "+60.0 s"]
    assert found[0].message == "the clock of Redis is 3.0 s behind that of this machine"
    assert found[0].link == "docs/doctor.md#clock"


def test_findings_of_other_plugins_link_to_their_own_documentation() -> None:
    page = "https://docs.example/greeting#one-language"
    assert Finding("one-language", Severity.ADVICE, "", "", documentation=page).link == page
