"""Import structlog without rich: its console renderer, in whose place the pipeline stands, would import that.

rich and the pygments that it imports are a tenth of the start where they are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def _without(name: str) -> Generator[None, None, None]:
    """Let the package *name* seem not to be installed, unless it has been imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what the import system takes for not there
    try:
        yield
    finally:
        del sys.modules[name]


with _without("rich"):
    import structlog

__all__ = ["structlog"]
