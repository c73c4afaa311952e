"""The page of plugins: versions, start order, the chain of filters, routes, and the time of filters on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scalekit.host import ChainLink, Host
from scalekit.host_pages.plugin_tables import chain_table, plugin_table, route_table, start_table, time_tables
from scalekit.http.filter import Filter
from scalekit.http.filter_times import FilterTimes, durations_as_json
from scalekit.pages.blocks import ActionForm, Block, Notice, Text, Tone
from scalekit.pages.page import ConsolePage, PageAction, PageGroup, PageView, Query
from scalekit.plugins import InstalledPlugin, installed

MEASUREMENT = 10.0
"""Seconds of a measurement."""
NOT_MEASURED = "Measure to see the time of each filter; without a measurement filters are called directly."


def plugins_page(find_host: Callable[[], Host]) -> ConsolePage:
    """Return the page of the plugins of the application that *find_host* returns once it is built."""
    times = FilterTimes(lambda: find_host().chain)
    distributions: dict[str, list[InstalledPlugin]] = {}

    async def collect(query: Query) -> dict[str, Any]:
        host = find_host()
        return {
            "starts": host.lifecycle.start_seconds,
            "seconds_left": times.seconds_left,
            "links": _link_times(host.links, times),
        }

    async def render(view: PageView) -> Sequence[Block]:
        host = find_host()
        if not distributions:
            distributions.update(await asyncio.to_thread(installed))
        left = max((each["seconds_left"] for each in view.workers.values()), default=0.0)
        measured = any(each["links"] for each in view.workers.values())
        return [
            plugin_table(host, distributions),
            _state(left, measured),
            ActionForm("measure"),
            chain_table(host.links, view),
            *(time_tables(host.links, view) if measured else []),
            start_table(host.lifecycle.steps, view),
            route_table(host.routes),
        ]

    async def measure(values: Mapping[str, str]) -> str:
        times.measure(MEASUREMENT)
        return f"measuring for {MEASUREMENT:g} s; load the page again to see the times"

    label = f"Measure filters for {MEASUREMENT:g} s"
    return ConsolePage(
        "plugins",
        "Plugins",
        render,
        collect,
        [PageAction("measure", label, measure, runs_in="all workers")],
        PageGroup.PROCESS,
        description="Plugins with versions, start order, filters, routes, and the time that each filter takes.",
    )


def _link_times(links: Sequence[ChainLink], times: FilterTimes) -> dict[str, Any]:
    """Return the durations of the methods of each filter, by the position of its link."""
    places = {id(link.filter): str(place) for place, link in enumerate(links) if isinstance(link.filter, Filter)}
    found: dict[str, Any] = {}
    for (owner, method), durations in times.durations.items():
        if owner in places:  # not a temporary filter
            found.setdefault(places[owner], {}).update(durations_as_json({method: durations}))
    return found


def _state(left: float, measured: bool) -> Block:
    if left:
        return Notice(f"A measurement is under way; it ends in {left:.0f} s.", "Load the page again.", Tone.NEUTRAL)
    return Text("The times of the latest measurement, of all workers." if measured else NOT_MEASURED)
