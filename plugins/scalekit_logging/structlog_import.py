"""Import structlog without rich.

Only structlog's console renderer needs rich, and the pipeline replaces it. Where rich and pygments are installed,
importing them takes a tenth of the start-up time.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def _without(name: str) -> Generator[None, None, None]:
    """Make imports of the package *name* fail, unless it has been imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # None makes the import fail
    try:
        yield
    finally:
        del sys.modules[name]


with _without("rich"):
    import structlog

__all__ = ["structlog"]
