"""Cache the last known instances on disk, for a start while the source is unavailable."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import orjson

from scalekit_discovery.instances import ServiceInstance

logger = logging.getLogger("scalekit.discovery")


class InstanceCache:
    """A folder with one file per service; an empty *folder* disables the cache."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._failure_logged = False

    def save(self, name: str, instances: Sequence[ServiceInstance]) -> None:
        """Write the *instances* of *name* atomically; a failure is logged once."""
        if self._folder is None:
            return
        part = self._folder / f"{os.getpid()}.{_file_name(name)}.part"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_bytes(orjson.dumps([instance.to_json() for instance in instances]))
            part.replace(self._folder / _file_name(name))
        except OSError as error:
            if not self._failure_logged:
                logger.warning("instances are not cached: cannot write to %s: %s", self._folder, error.strerror)
                self._failure_logged = True

    def load(self, name: str) -> tuple[ServiceInstance, ...]:
        """Return the cached instances of *name*, none when there is no readable file."""
        if self._folder is None:
            return ()
        try:
            data = orjson.loads((self._folder / _file_name(name)).read_bytes())
            return tuple(ServiceInstance.from_json(each) for each in data)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("the cached instances of %r cannot be read: %s", name, error)
            return ()


def _file_name(service: str) -> str:
    digest = hashlib.sha256(service.encode()).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9_-]', '_', service)[:80]}-{digest}.json"
