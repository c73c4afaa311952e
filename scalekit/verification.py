"""What can be known, without connecting anywhere, of whether an application will start: the same for all commands."""

from __future__ import annotations

from collections.abc import Mapping

from scalekit.errors import ConfigError, StartError
from scalekit.lifespan import Lifespan, missing_requirements
from scalekit.plugins import missing_package
from scalekit.settings import Settings


def verify(settings: Settings, lifespans: Mapping[str, Lifespan]) -> None:
    """Let every plugin say why it could not start; raises ConfigError with all of it."""
    document = settings.document
    for path, message in missing_requirements(lifespans).items():
        document.report(("plugins", *path), message, path[0])
    given = frozenset(key for item in lifespans.values() for key in item.provides)
    for name, item in lifespans.items():
        try:
            if item.verify is not None:
                item.verify(given)
        except ConfigError as error:
            document.problems += map(document.placed, error.problems)
        except StartError as error:
            document.causes.append(error)
            document.report(("plugins", name), str(error), name)
        except ImportError as error:
            document.causes.append(error)
            document.report(("plugins", name), missing_package(name, error), name)
    settings.refuse_mistakes()
