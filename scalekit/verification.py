"""Verify, without a connection, that the plugins of an application can start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from scalekit.config.document import Document
from scalekit.errors import ConfigError, StartError
from scalekit.lifespan import Lifespan, Verify
from scalekit.plugins import missing_package
from scalekit.settings import Settings
from scalekit.start_order import missing_requirements

Verifications = Callable[[Lifespan], Sequence[Verify | None]]
"""Returns the verifications of a lifespan."""


def command_verifications(lifespan: Lifespan) -> Sequence[Verify | None]:
    """Return the verifications of *lifespan* in a command."""
    return (lifespan.verify,)


def service_verifications(lifespan: Lifespan) -> Sequence[Verify | None]:
    """Return the verifications of *lifespan* in a service."""
    return (lifespan.verify, lifespan.verify_service)


def verify_lifespans(settings: Settings, lifespans: Mapping[str, Lifespan], verifications: Verifications) -> None:
    """Raise ConfigError with everything, known without a connection, that keeps a plugin from starting."""
    document = settings.document
    for path, message in missing_requirements(lifespans).items():
        document.report(("plugins", *path), message, path[0])
    provided = frozenset(key for item in lifespans.values() for key in item.provides)
    for name, item in lifespans.items():
        for verify in filter(None, verifications(item)):
            _report_failure(document, name, partial(verify, provided))
    settings.raise_problems()


def _report_failure(document: Document, name: str, verify: Callable[[], None]) -> None:
    """Add to *document* why *verify* of the plugin *name* fails, if it does."""
    try:
        verify()
    except ConfigError as error:
        document.problems += map(document.with_location, error.problems)
    except StartError as error:
        document.causes.append(error)
        document.report(("plugins", name), str(error), name)
    except ImportError as error:
        document.causes.append(error)
        document.report(("plugins", name), missing_package(name, error), name)
