"""The table ``[plugins.visits]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scalekit import Secret, Table


class VisitsConfig(Table):
    """The table ``[plugins.visits]``."""

    header: str = "x-visits"
    """Name of the response header."""
    limit: Annotated[int, Field(ge=1)] = 1000
    """Maximum number of clients."""
    salt: Secret = Secret("")
    """A secret without effect; the host's tests look for it in every output."""
