"""Start plugins and application once without serving, and collect all failures."""

from __future__ import annotations

from dataclasses import dataclass, field

from scalekit.app_lifespan import verify_lifespan
from scalekit.errors import StartError
from scalekit.health.monitor import Result
from scalekit.host import Host
from scalekit.lifecycle import APPLICATION, HEALTH, Lifecycle


@dataclass(slots=True)
class PreflightResult:
    """Failed starts, plugins skipped because they require those, and the results of health checks."""

    failures: list[StartError] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)


async def verify_application(host: Host) -> None:
    """Raise StartError, with the message of a start, when the application fails at its first call."""
    if host.settings.server.role != "web":
        return
    try:
        await verify_lifespan(host.target, host.context, host.settings.server.start_timeout)
    except StartError as error:
        raise StartError(f"{APPLICATION} did not start: {host.context.redact(str(error))}") from error


async def run_preflight(host: Host) -> PreflightResult:
    """Start all plugins independently, then the application, and run the health checks of started plugins once."""
    preflight = PreflightResult()
    steps = host.lifecycle.steps
    plugins = Lifecycle([step for step in steps if step.name not in (HEALTH, APPLICATION)], host.context)
    async with plugins.start_independently() as failed:
        application = [step for step in steps if step.name == APPLICATION and not failed]
        async with Lifecycle(application, host.context).start_independently() as broken:
            names = [name for name in host.monitor.results if name.partition(".")[0] not in failed]
            await host.monitor.check_once(names)
            preflight.results = {name: host.monitor.results[name] for name in names}
            preflight.skipped = [name for name, error in failed.items() if error is None]
            preflight.failures = [error for error in (*failed.values(), *broken.values()) if error is not None]
    return preflight
