"""The id of a request: the client's own when it is well formed, else a new one."""

from __future__ import annotations

import os
import re

from starlette.types import Scope

HEADER = b"x-request-id"
STATE = "request_id"

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")


def request_id(scope: Scope) -> str:
    """Return the id of the request of *scope*; the first call decides it and keeps it in the request's state."""
    state = scope.setdefault("state", {})
    found = state.get(STATE)
    if not isinstance(found, str):
        found = state[STATE] = _accepted(scope) or os.urandom(16).hex()
    return found


def _accepted(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == HEADER]
    return values[0].decode("ascii") if len(values) == 1 and _WELL_FORMED.fullmatch(values[0]) else ""
