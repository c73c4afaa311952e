"""Keep the last known instances on disk, for a start without their source."""

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
    """A folder with a file for each service; without a folder nothing is kept."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._complained = False

    def keep(self, name: str, instances: Sequence[ServiceInstance]) -> None:
        """Write down the *instances* of *name*, whole or not at all; that it fails is logged once."""
        if self._folder is None:
            return
        part = self._folder / f"{os.getpid()}.{_file_of(name)}.part"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_bytes(orjson.dumps([instance.to_json() for instance in instances]))
            part.replace(self._folder / _file_of(name))
        except OSError as error:
            if not self._complained:
                logger.warning("discovery keeps nothing in %s: %s", self._folder, error.strerror)
                self._complained = True

    def kept(self, name: str) -> tuple[ServiceInstance, ...]:
        """Return what was last written down for *name*; none where there is nothing, or nothing that can be read."""
        if self._folder is None:
            return ()
        try:
            data = orjson.loads((self._folder / _file_of(name)).read_bytes())
            return tuple(ServiceInstance.from_json(each) for each in data)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("discovery cannot read what was kept of %r: %s", name, error)
            return ()


def _file_of(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9_-]', '_', name)[:80]}-{digest}.json"
