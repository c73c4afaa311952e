"""The part of SQLAlchemy's execution contexts that tells our cursors about the statement."""

from __future__ import annotations

from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import ExecuteStyle

from scalekit_pool.connections.driver import Untyped

SERVER_OPTION = "scalekit_server"
"""The execution option, and the key of ``Session.info``, that forces ``primary`` or ``replica``."""
SERVERS = ("primary", "replica")


def checked_server(server: object) -> str | None:
    """Return *server*; raise ValueError when it is neither None nor a kind of server."""
    if server is not None and server not in SERVERS:
        raise ValueError(f"unknown {SERVER_OPTION} {server!r}: use 'primary' or 'replica'")
    return None if server is None else str(server)


class PooledExecutionContext(DefaultExecutionContext):
    """Gives the cursor the server and the template of its statement."""

    def pre_exec(self) -> None:
        """Prepare the cursor, before a statement runs."""
        cursor: Untyped = self.cursor
        compiled: Untyped = self.compiled
        options = self.execution_options
        if SERVER_OPTION in options:
            cursor.server = checked_server(options[SERVER_OPTION])
        if compiled is None or self.isddl:
            return
        if self.execute_style is ExecuteStyle.INSERTMANYVALUES or _expands(compiled):
            cursor.template = compiled.string

    def handle_dbapi_exception(self, e: BaseException) -> None:
        """Do nothing: the pool handles changes of the schema."""


def _expands(compiled: Untyped) -> bool:
    """Return whether the text of *compiled* depends on its values, as with IN."""
    return bool(compiled.post_compile_params or compiled.literal_execute_params)
