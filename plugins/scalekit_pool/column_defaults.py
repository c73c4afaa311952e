"""Defaults of columns that Python computes, such as ``default=uuid4`` or ``onupdate=now``."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from scalekit_pool.connections.driver import Untyped, Value

_Context: Untyped = DefaultExecutionContext


class DefaultContext(_Context):  # type: ignore[misc] # base from a class without types
    """The context of an execution, as defaults that depend on other values of the row receive it."""

    def __init__(self, dialect: Dialect, compiled: SQLCompiler, parameters: dict[str, Value]) -> None:
        self.dialect = dialect
        self.compiled: Any = compiled
        self.statement = compiled.string
        self.isinsert, self.isupdate = compiled.isinsert, compiled.isupdate
        self.compiled_parameters = [parameters]

    def set_defaults(self) -> None:
        """Set the defaults among the parameters of the compiled statement."""
        self._process_execute_defaults()


def needs_statement(compiled: SQLCompiler) -> bool:
    """Return whether a default would take a statement of its own, such as ``SELECT nextval(...)``.

    It would tell SQLAlchemy the key of a table with ``implicit_returning=False``; ``insert(...).inline()`` needs none.
    """
    columns: Untyped = compiled.insert_prefetch
    return any(
        column.default is None or column.default.is_sequence or column.default.is_clause_element for column in columns
    )
