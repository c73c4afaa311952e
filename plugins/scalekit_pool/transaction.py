"""A transaction, or a savepoint inside one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Self

OPTIONS = ("isolation", "readonly", "deferrable")
ISOLATIONS = ("serializable", "repeatable_read", "read_committed", "read_uncommitted")

_savepoints = itertools.count(1)


class Transaction:
    """What runs inside is committed together, or not at all.

    *choose* returns the session that it is to be in: of the task that starts it. It is a context manager, a decorator,
    and ``await database.transaction()`` starts it for ``commit()`` or ``rollback()``.
    """

    def __init__(self, choose: Callable[[], Any], force_rollback: bool, options: Mapping[str, Any]) -> None:
        self._choose = choose
        self._force_rollback = force_rollback
        self._options = options
        self._session: Any = None
        self._savepoint = ""

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._force_rollback:
            await self.commit()
        else:
            await self.rollback()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.start().__await__()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* so that each call runs in a transaction of its own."""

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async with Transaction(self._choose, self._force_rollback, self._options):
                return await function(*args, **kwargs)

        return wrapper

    async def start(self) -> Self:
        """Begin; raises Unavailable when no connection can be had in time, and ValueError on unknown options."""
        _refuse_unknown(**self._options)
        session = self._choose()
        await (session.enter() if self.read_only else session.enter_to_write())
        try:
            if session.transactions:
                self._savepoint = f"scalekit_{next(_savepoints)}"
                await session.command(lambda driver, raw: driver.run(raw, f"SAVEPOINT {self._savepoint}"))
            else:
                await session.command(lambda driver, raw: driver.begin(raw, self._options))
        except BaseException:
            session.leave(used=True)
            raise
        session.transactions.append(self)
        self._session = session
        return self

    async def commit(self) -> None:
        """Make what ran inside last; raises when it does not, and then it does not."""
        session = self._running()
        if session.transactions[-1] is not self:
            await self.rollback()
            raise RuntimeError("rolled back, for a transaction inside this one still runs; end that first")
        self._end(session)
        try:
            if self._savepoint:
                await session.command(lambda driver, raw: driver.run(raw, f"RELEASE SAVEPOINT {self._savepoint}"))
            else:
                await session.command(lambda driver, raw: driver.commit(raw))
        except BaseException:
            session.note_write()  # it may have been committed all the same
            session.leave(used=True)
            if not self._savepoint:
                session.writes.tell_doubtful()
            raise
        if not self._savepoint:
            session.note_write()
        session.leave()
        if not self._savepoint:
            await session.writes.tell()

    async def rollback(self) -> None:
        """Undo what ran inside.

        Where that fails the connection is given up, which undoes it too; and where a statement was cut, nobody waits
        for a server that may not answer.
        """
        session = self._running()
        while session.transactions[-1] is not self:
            session.transactions[-1]._end(session)  # what runs inside is undone with it
            session.leave()
        self._end(session)
        try:
            await self._undo(session)
        finally:
            if not self._savepoint:
                await session.writes.tell_undone()

    async def _undo(self, session: Any) -> None:
        if session.is_given_up:
            session.leave(used=True)
            return
        try:
            if self._savepoint:
                await session.command(lambda driver, raw: driver.run(raw, f"ROLLBACK TO SAVEPOINT {self._savepoint}"))
            else:
                await session.command(lambda driver, raw: driver.rollback(raw))
        except Exception:
            session.leave(used=True)
        except BaseException:
            session.leave(used=True)
            raise
        else:
            session.leave()

    def _running(self) -> Any:
        session = self._session
        if session is None or self not in session.transactions:
            raise RuntimeError("this transaction has ended, or the task that began it has; begin another")
        return session

    def _end(self, session: Any) -> None:
        session.transactions.pop()
        self._session = None

    @property
    def read_only(self) -> bool:
        """Whether it was begun so."""
        return bool(self._options.get("readonly"))


def _refuse_unknown(isolation: str | None = None, **options: Any) -> None:
    for option in options:
        if option not in OPTIONS:
            raise ValueError(f"a transaction has no option {option!r}; known: {', '.join(OPTIONS)}")
    if isolation is not None and isolation not in ISOLATIONS:
        raise ValueError(f"no isolation is called {isolation!r}; known: {', '.join(ISOLATIONS)}")
