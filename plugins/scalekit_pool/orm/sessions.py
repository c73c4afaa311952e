"""Create SQLAlchemy's sessions on a database of the pool."""

from __future__ import annotations

import importlib
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, SessionTransaction

from scalekit import StartError
from scalekit_pool.database import PooledDatabase
from scalekit_pool.orm.engine import create_engine
from scalekit_pool.orm.execution import SERVER_OPTION, checked_server
from scalekit_pool.session_options import SessionOptions


def create_sessions(database: PooledDatabase, options: SessionOptions) -> async_sessionmaker[AsyncSession]:
    """Return the factory of sessions on *database*.

    Objects stay loaded after a commit: to load them again would need an ``await`` where an attribute is read.
    """
    session_class = load_session_class(options.session_class)
    engine = create_engine(database, options.find_router)
    kind = _with_server(session_class.sync_session_class)
    return async_sessionmaker(engine, class_=session_class, sync_session_class=kind, expire_on_commit=False)


def load_session_class(path: str) -> type[AsyncSession]:
    """Return the class at *path*, ``module:Class``; raise StartError when it is no class of asynchronous sessions."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise StartError(f"session_class: cannot import {module!r}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, AsyncSession)):
        raise StartError(f"session_class: {path!r} is no subclass of sqlalchemy.ext.asyncio.AsyncSession")
    return found


def _with_server(base: type[Session]) -> type[Session]:
    """Return a subclass of *base* whose sessions read from the server that ``info["scalekit_server"]`` names."""
    kind: type[Session] = type(base.__name__, (base,), {})

    @event.listens_for(kind, "after_begin")
    def use_server(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        info: dict[Any, Any] = session.__dict__.get("info", {})  # the property would create it
        server = checked_server(info.get(SERVER_OPTION))
        if server is not None:
            connection.execution_options(**{SERVER_OPTION: server})

    return kind
