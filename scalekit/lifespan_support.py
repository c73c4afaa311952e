"""Whether an application that raised at a lifespan scope is broken, or only says that it knows no such scope.

ASGI leaves both to one sign, an exception. Servers that take every exception for the second start an application whose
middleware cannot be built, and each of its requests fails. An application speaks of the scope when the line that raises
has the scope, or its message, at hand and the exception is one of those that such lines raise:

* NotImplementedError
* AssertionError or KeyError, of a line that reads the scope or a message, such as ``assert scope["type"] == "http"``
* any exception but a TypeError or AttributeError whose text speaks of scopes, protocols or HTTP, or that a ``raise``
  right below a line such as ``if scope["type"] != "http":`` raises
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Mapping

from starlette.types import Scope

LINES_ABOVE = 2
"""How far above a ``raise`` its condition may stand."""
_WORDS = re.compile(r"lifespan|scope|protocol|https?\b|asgi|websocket|not supported|unsupported", re.IGNORECASE)
_TYPE = re.compile(r"""["']type["']|scope_type|case """)
_READS = re.compile(r"""\bscope\b|["']type["']""")
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
"""What an application for HTTP alone misses in a lifespan scope or its messages."""


def speaks_of_scope(error: BaseException, scope: Scope) -> bool:
    """Return whether *error*, which an application raised at the lifespan *scope*, says that it knows no such scope."""
    if isinstance(error, NotImplementedError):
        return True
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    if not any(_is_at_hand(value, scope) for value in frame.f_locals.values()):
        return False
    if isinstance(error, KeyError):
        return bool(error.args) and error.args[0] in _FIELDS
    file = frame.f_code.co_filename
    text = linecache.getline(file, line).strip()
    if isinstance(error, AssertionError):
        return not text or bool(_READS.search(text) or _WORDS.search(str(error)))
    if isinstance(error, TypeError | AttributeError):
        return False
    above = "".join(linecache.getline(file, each) for each in range(line - LINES_ABOVE, line + 1))
    return bool(_WORDS.search(str(error))) or (text.startswith("raise") and bool(_TYPE.search(above)))


def _is_at_hand(value: object, scope: Scope) -> bool:
    if value is scope:
        return True
    kind = value.get("type") if isinstance(value, Mapping) else None
    return isinstance(kind, str) and kind.startswith("lifespan")
