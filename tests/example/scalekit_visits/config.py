"""The table ``[plugins.visits]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scalekit import Secret, Table


class VisitsConfig(Table):
    """How visits are counted and shown."""

    header: str = "x-visits"
    """The response header that carries the number."""
    limit: Annotated[int, Field(ge=1)] = 1000
    """How many clients are remembered."""
    salt: Secret = Secret("")
    """A secret that the numbers do not depend on; the host's tests look for it in every output."""
