"""Contract of advice: what a running service sees that its operator could improve in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from scalekit.context import Key


class Advice(NamedTuple):
    """What is not as it could be, without figures that differ between workers, and the *remedy*."""

    text: str
    remedy: str


Adviser = Callable[[], Iterable[Advice]]
"""Returns the advice of this worker; called when an operator looks, so that it costs no request anything."""
ADVISERS: Key[list[Adviser]] = Key("advisers")
"""The advisers of plugins; ``scalekit_pages`` appends to ``context.shared(ADVISERS, list)``."""
