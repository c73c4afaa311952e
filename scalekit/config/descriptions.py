"""Read what the source says of each key: the string below a field of a model.

pydantic can do this itself, but does it whenever a model is made, and that costs a starting process more than all the
rest of its configuration. Here it is done when a schema is asked for.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from itertools import pairwise


def descriptions(model: type) -> dict[str, str]:
    """Return the docstring of every field of *model*, those of its bases included, by field."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if "__annotations__" in vars(kind):
            found |= _field_docstrings(kind)
    return found


@lru_cache(256)  # all models share their bases, whose source is long
def _field_docstrings(kind: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):  # made without a source file
        return {}
    (definition,) = ast.parse(source).body
    if not isinstance(definition, ast.ClassDef):
        return {}
    return {
        ast.unparse(field.target): inspect.cleandoc(str(text.value.value))
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
