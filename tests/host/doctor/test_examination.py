"""All diagnostics run within their deadlines, and what keeps them from it is found too."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scalekit import Check, Context, Diagnostic, Finding, Lifespan, Severity, create_app, hookimpl, process_count
from scalekit.doctor.examination import Examination, examine
from scalekit.host import Host
from scalekit.testing.conformance import bare_application

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
Probe = Callable[[], Awaitable[Sequence[Finding]]]


async def of_plugins(host: Host, instances: int = 1) -> list[tuple[str, str, str, str]]:
    examination = await examine(host, instances)
    return [
        (each.owner, each.finding.name, each.finding.severity.value, each.finding.message)
        for each in examination.findings
        if each.owner != "host"
    ]


def host_with(
    monkeypatch: pytest.MonkeyPatch, probe: Probe, server: Mapping[str, Any] | None = None, **hooks: Any
) -> Host:
    """Return a host with the plugin visits, whose diagnostic is *probe*."""
    import scalekit_visits.plugin as visits

    @hookimpl
    def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
        return [Diagnostic("visits", probe, timeout=0.2)]

    monkeypatch.setattr(visits, "scalekit_diagnostics", scalekit_diagnostics)
    for name, hook in hooks.items():
        monkeypatch.setattr(visits, name, hookimpl(hook))
    return create_app({"server": server or {}, "plugins": {"visits": {}}}, app=bare_application)


async def test_findings_of_plugins_are_reported_with_their_plugin() -> None:
    for limit, expected in ((5, [("visits", "visits-limit", "advice", "few names fit")]), (50, [])):
        host = create_app({"plugins": {"visits": {"limit": limit}}}, app=bare_application)
        assert await of_plugins(host) == expected


async def test_a_probe_runs_while_its_plugin_does_and_knows_the_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from scalekit_visits.keys import VISITS

    async def probe() -> Sequence[Finding]:
        host.context.get(VISITS)
        return [Finding("visits-limit", Severity.ERROR, f"{process_count(host.context)} processes", "none")]

    host = host_with(monkeypatch, probe)
    assert await of_plugins(host, 3) == [("visits", "visits-limit", "error", "3 processes")]
    assert not host.context.has(VISITS)


async def test_a_probe_that_fails_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> Sequence[Finding]:
        raise ConnectionError("no redis://user:secret@db")

    async def hang() -> Sequence[Finding]:
        await asyncio.sleep(60)
        return []

    for probe, text in (
        (fail, "ConnectionError: no redis://user:***@db"),
        (hang, "TimeoutError: no result within 0.2s"),
    ):
        ((owner, name, severity, message),) = await of_plugins(host_with(monkeypatch, probe))
        assert (owner, name, severity) == ("visits", "probe-failed", "warning")
        assert message == f"visits could not be examined: {text}"


async def test_secrets_and_control_characters_in_findings_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "0123456789abcdef0123456789abcdef"

    async def probe() -> Sequence[Finding]:
        text = f"\x1b[31m {secret}\nredis://u:pw@h"
        return [Finding("visits-limit", Severity.ERROR, text, text, text, text)]

    host = host_with(monkeypatch, probe, server={"operator_token": secret})
    (found,) = [each.finding for each in (await examine(host, 1)).findings if each.owner == "visits"]
    shown = r"\x1b[31m *** redis://u:***@h"
    assert [found.message, found.remedy, found.key, found.value] == [shown] * 4


async def test_a_failing_health_check_is_a_finding_instead_of_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> Sequence[Finding]:
        raise ConnectionError("gone")

    def scalekit_health(context: Context) -> Sequence[Check]:
        return [Check("table", fail)]

    ((_, name, severity, message),) = await of_plugins(host_with(monkeypatch, fail, scalekit_health=scalekit_health))
    assert (name, severity) == ("server-unavailable", "error")
    assert message == "the health check visits.table fails: ConnectionError: gone"


async def test_a_plugin_that_does_not_start_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe() -> Sequence[Finding]:
        raise AssertionError("not called")

    def scalekit_lifespan(context: Context) -> Lifespan:
        @asynccontextmanager
        async def run() -> AsyncGenerator[None, None]:
            raise ValueError("broken")
            yield

        return Lifespan(run)

    host = host_with(monkeypatch, probe, scalekit_lifespan=scalekit_lifespan)
    ((_, name, severity, message),) = await of_plugins(host)
    assert (name, severity) == ("start-failed", "error")
    assert "ValueError: broken" in message


def test_only_errors_fail_the_examination() -> None:
    examination = Examination()
    examination.add("host", [Finding("memory", Severity.WARNING, "", "")])
    assert not examination.has_errors
    examination.add("host", [Finding("memory", Severity.ERROR, "", "")])
    assert examination.has_errors


def test_every_finding_has_a_section_in_the_documentation() -> None:
    page = (ROOT / "docs/doctor.md").read_text()
    sections = re.findall(r"^### (\S+)$", page, re.MULTILINE)
    code = [each for folder in ("scalekit", "plugins") for each in (ROOT / folder).rglob("*.py")]
    names = {name for file in code if "Finding(" in file.read_text() for name in finding_names(file)}
    assert sorted(names) == sorted(sections)


def finding_names(file: Path) -> set[str]:
    """Return the names of findings in *file*, each of which is a literal."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    found = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id == "Finding"]
    return {ast.literal_eval(each.args[0]) for each in found}
