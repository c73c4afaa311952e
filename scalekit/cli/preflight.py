"""Start plugins and application once without serving, and collect every failure that `scalekit run` would meet."""

from __future__ import annotations

from dataclasses import dataclass, field

from scalekit.app_lifespan import verify_lifespan
from scalekit.errors import StartError
from scalekit.health.monitor import Result
from scalekit.host import Host
from scalekit.lifecycle import APPLICATION, HEALTH, Lifecycle


@dataclass(slots=True)
class PreflightResult:
    """What did not start, which plugins were left out since they require that, and what the checks said."""

    failures: list[StartError] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)


async def verify_application(host: Host) -> None:
    """Raise StartError, in the words of a start, when the application fails as soon as it is called."""
    if host.settings.server.role != "web":
        return
    try:
        await verify_lifespan(host.target, host.context, host.settings.server.start_timeout)
    except StartError as error:
        raise StartError(f"{APPLICATION} did not start: {host.context.redact(str(error))}") from error


async def run_preflight(host: Host) -> PreflightResult:
    """Start every plugin that can be started, then the application, and run each check of what has started once."""
    done = PreflightResult()
    steps = host.lifecycle.steps
    plugins = Lifecycle([step for step in steps if step.name not in (HEALTH, APPLICATION)], host.context)
    async with plugins.start_independently() as failed:
        application = [] if failed else [step for step in steps if step.name == APPLICATION]
        async with Lifecycle(application, host.context).start_independently() as broken:
            names = [name for name in host.monitor.results if name.partition(".")[0] not in failed]
            await host.monitor.check_once(names)
            done.results = {name: host.monitor.results[name] for name in names}
            done.left_out = [name for name, error in failed.items() if error is None]
            done.failures = [error for error in (*failed.values(), *broken.values()) if error is not None]
    return done
