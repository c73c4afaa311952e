"""Read the descriptions of keys from the source: the string below each field of a model.

pydantic (``use_attribute_docstrings``) does so for each model at import, which costs a start more than the rest of the
configuration. Here it happens only when a schema is generated.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from itertools import pairwise


def descriptions(model: type) -> dict[str, str]:
    """Return the docstring of each field of *model* and its bases, by field name."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if "__annotations__" in vars(kind):
            found |= _field_docstrings(kind)
    return found


@lru_cache(256)  # all models share their bases
def _field_docstrings(kind: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):  # defined without a source file
        return {}
    (definition,) = ast.parse(source).body
    if not isinstance(definition, ast.ClassDef):
        return {}
    return {
        ast.unparse(field.target): inspect.cleandoc(str(text.value.value))
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
