"""Distinguish an application without support for lifespan scopes from one that fails to start.

In ASGI both raise an exception. Servers that take every exception for missing support start an application whose
middleware cannot be built, and each of its requests fails. An exception means missing support when the raising frame
has the scope, or a lifespan message, in a local variable and the exception is one of these:

* NotImplementedError
* AssertionError or KeyError from a line that reads the scope or a message, such as ``assert scope["type"] == "http"``
* any exception but TypeError, AttributeError and OSError whose text mentions scopes, protocols or HTTP, or whose
  ``raise`` follows a line such as ``if scope["type"] != "http":``
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Mapping

from starlette.types import Scope

MAX_LINES = 200
"""Lines above a ``raise`` that are searched for the condition of its branch."""
_WORDS = re.compile(r"lifespan|scope|protocol|https?\b(?!:)|asgi|websocket|not supported|unsupported", re.IGNORECASE)
_TYPE = re.compile(r"""["']type["']|scope_type""")
_FIELDS = frozenset(
    [
        "lifespan",
        "type",
        "path",
        "raw_path",
        "method",
        "headers",
        "query_string",
        "client",
        "server",
        "scheme",
        "http_version",
        "root_path",
        "subprotocols",
        "body",
        "more_body",
        "text",
        "bytes",
    ]
)
"""Keys that an application for HTTP alone reads and a lifespan scope or its messages lack."""


def is_unsupported_scope(error: BaseException, scope: Scope) -> bool:
    """Return whether *error*, raised at the lifespan *scope*, means that the application does not support lifespans."""
    if isinstance(error, NotImplementedError):
        return True
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    names = [name for name, value in frame.f_locals.items() if _is_scope_or_message(value, scope)]
    if not names or isinstance(error, TypeError | AttributeError | OSError):
        return False
    file = frame.f_code.co_filename
    text = linecache.getline(file, line)
    reads = not text or any(re.search(rf"\b{name}\b", text) for name in names)
    if isinstance(error, KeyError):
        return reads and bool(error.args) and error.args[0] in _FIELDS
    if isinstance(error, AssertionError) and (reads or _TYPE.search(text)):
        return True
    return bool(_WORDS.search(str(error))) or _refuses_type(file, line)


def _refuses_type(file: str, number: int) -> bool:
    """Return whether line *number* of *file* raises on a condition on the type of a scope or message."""
    line = linecache.getline(file, number)
    if not line.lstrip().startswith("raise"):
        return "raise" in line and bool(_TYPE.search(line))
    branch = linecache.getline(file, number - 1)
    text = branch.lstrip()
    if not text.startswith(("else", "case")):
        return text.startswith(("if ", "elif ")) and bool(_TYPE.search(text))
    indent = len(branch) - len(text)
    for above in range(number - 2, max(0, number - MAX_LINES), -1):
        other = linecache.getline(file, above)
        if other.strip() and len(other) - len(other.lstrip()) <= indent:
            if _TYPE.search(other):
                return True
            if not other.lstrip().startswith(("elif ", "case ")):
                return False
    return False


def _is_scope_or_message(value: object, scope: Scope) -> bool:
    if value is scope:
        return True
    kind = value.get("type") if isinstance(value, Mapping) else None
    return isinstance(kind, str) and kind.startswith("lifespan")
