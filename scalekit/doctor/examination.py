"""Start the plugins without serving, and collect the findings of all diagnostics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from scalekit.config.password_mask import mask_passwords
from scalekit.diagnostic import INSTANCES, Diagnostic, Finding, Severity
from scalekit.doctor.application import application_diagnostics
from scalekit.doctor.exposure import exposure_diagnostics
from scalekit.doctor.machine import machine_diagnostics
from scalekit.errors import StartError
from scalekit.host import Host
from scalekit.lifecycle import APPLICATION, HEALTH, Lifecycle
from scalekit.terminal import printable

HOST = "host"
MAX_TEXT = 1000
"""Characters of a message, a remedy or a value."""
_ORDER = list(Severity)


@dataclass(frozen=True, slots=True)
class OwnedFinding:
    """A *finding* of the plugin *owner*, or of the host."""

    owner: str
    finding: Finding

    def masked(self, redact: Callable[[str], str]) -> OwnedFinding:
        """Return the finding with secrets masked and control characters escaped: servers wrote parts of it."""

        def mask(text: str) -> str:
            return " ".join(map(printable, redact(text).splitlines()))[:MAX_TEXT]

        found = self.finding
        message, remedy, key, value = map(mask, (found.message, found.remedy, found.key, found.value))
        return replace(self, finding=replace(found, message=message, remedy=remedy, key=key, value=value))


@dataclass(slots=True)
class Examination:
    """The *findings*, the worst first, and the names of the diagnostics that have run."""

    findings: list[OwnedFinding] = field(default_factory=list)
    examined: list[str] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        """Whether a finding is an error."""
        return any(each.finding.severity is Severity.ERROR for each in self.findings)

    def add(self, owner: str, findings: Sequence[Finding]) -> None:
        """Add *findings* of *owner*."""
        self.findings += [OwnedFinding(owner, each) for each in findings]


async def examine(host: Host, instances: int) -> Examination:
    """Run all diagnostics of *host*, of which there are *instances*; raises PluginError and ConfigError of hooks."""
    examination = Examination()
    host.context.provide(INSTANCES, instances)
    diagnostics = {
        HOST: [*machine_diagnostics(host.context), *exposure_diagnostics(host), *application_diagnostics(host)],
        **host.settings.plugins.diagnostics(host.context),
    }
    async with _started(host) as failed:
        unavailable = await _check_health(host, failed, examination)
        _report_failures(failed, examination)
        await asyncio.gather(
            *(
                _run(owner, each, examination, host, is_reported=owner in unavailable)
                for owner, items in diagnostics.items()
                if owner not in failed
                for each in items
            )
        )
    examination.findings = [each.masked(host.context.redact) for each in examination.findings]
    examination.findings.sort(key=lambda each: (_ORDER.index(each.finding.severity), each.owner, each.finding.name))
    return examination


@asynccontextmanager
async def _started(host: Host) -> AsyncGenerator[Mapping[str, StartError | None], None]:
    """Start all plugins, without the application, and yield those that failed."""
    steps = [step for step in host.lifecycle.steps if step.name not in (HEALTH, APPLICATION)]
    async with Lifecycle(steps, host.context).start_independently() as failed:
        yield failed


async def _check_health(host: Host, failed: Mapping[str, object], examination: Examination) -> set[str]:
    """Add failing health checks of started plugins; return the names of these plugins."""
    names = [name for name in host.monitor.results if name.partition(".")[0] not in failed]
    await host.monitor.check_once(names)
    unhealthy = {name: host.monitor.results[name] for name in names if host.monitor.results[name].last_error}
    for name, result in unhealthy.items():
        severity = Severity.ERROR if result.check.critical else Severity.WARNING
        message = f"the health check {name} fails: {mask_passwords(result.last_error)}"
        remedy = "start the server, or correct its address in the file"
        examination.add(name.partition(".")[0], [Finding("server-unavailable", severity, message, remedy)])
    return {name.partition(".")[0] for name in unhealthy}


def _report_failures(failed: Mapping[str, StartError | None], examination: Examination) -> None:
    for owner, error in failed.items():
        if error is not None:
            message = f"the plugin does not start: {mask_passwords(str(error))}"
            remedy = "correct the cause; scalekit run does not start either"
            examination.add(owner, [Finding("start-failed", Severity.ERROR, message, remedy)])


async def _run(owner: str, diagnostic: Diagnostic, examination: Examination, host: Host, *, is_reported: bool) -> None:
    """Add the findings of *diagnostic*; its own failure is one, unless that of its server *is_reported*."""
    try:
        async with asyncio.timeout(diagnostic.timeout):
            findings = await diagnostic.probe()
    except Exception as error:
        if is_reported:
            return
        reason = host.context.redact(str(error)) or f"no result within {diagnostic.timeout:g}s"
        message = f"{diagnostic.name} could not be examined: {type(error).__name__}: {mask_passwords(reason)}"
        remedy = "look whether the server is available and lets the service read its settings"
        findings = [Finding("probe-failed", Severity.WARNING, message[:500], remedy)]
    else:
        examination.examined.append(diagnostic.name)
    examination.add(owner, findings)
