"""Calls of tasks and their attempts, beside the jobs of their messages: what a result shows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import orjson

from scalekit import encode_json
from scalekit.contracts import JobStatus, PublishFailed, Statements
from scalekit_queue.envelope import storable_text
from scalekit_queue.jobs.job import UNFINISHED_TTL
from scalekit_queue.jobs.statements import COLUMNS
from scalekit_queue.jobs.store import JobDatabase, Rows, commit_apart, status_of

logger = logging.getLogger("scalekit.queue")

MAX_ATTEMPTS_LENGTH = 128 * 1024
"""Characters of the attempts of one task; later ones are not recorded."""
CLEANUP_INTERVAL = 10.0
"""Seconds between two deletions of expired calls by a process that adds calls."""
ADD = """
INSERT INTO {table}_task_results (prefix, id, call, attempts, expires) VALUES (:prefix, :id, :call, '', :expires)
ON CONFLICT (prefix, id) DO NOTHING RETURNING 1
"""
# The row of a call may have expired, or be in a transaction that is not committed yet. Attempts are lines of JSON.
ADD_ATTEMPT = f"""
INSERT INTO {{table}}_task_results AS task_result (prefix, id, call, attempts, expires)
VALUES (:prefix, :id, :call, :attempt, :expires)
ON CONFLICT (prefix, id) DO UPDATE SET expires = excluded.expires, attempts = CASE
  WHEN length(task_result.attempts) < {MAX_ATTEMPTS_LENGTH} THEN task_result.attempts || excluded.attempts
  ELSE task_result.attempts
END
RETURNING attempts
"""
READ = f"""
SELECT {", ".join(f"job.{name.strip()}" for name in COLUMNS.split(","))}, task_result.call, task_result.attempts
FROM {{table}}_task_results AS task_result
LEFT JOIN {{table}} AS job ON job.prefix = task_result.prefix AND job.id = task_result.id AND job.expires >= :now
WHERE task_result.prefix = :prefix AND task_result.id = :id AND task_result.expires >= :now
"""
DELETE = "DELETE FROM {table}_task_results WHERE prefix = :prefix AND id = :id RETURNING 1"
DELETE_EXPIRED = """
DELETE FROM {table}_task_results WHERE (prefix, id) IN (
  SELECT prefix, id FROM {table}_task_results WHERE expires < :now LIMIT 1000
) RETURNING 1
"""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The *call* of a task, its *attempts* so far, each a change of them, and the status of its message.

    *status* is None before the message is published by the outbox.
    """

    call: Any
    attempts: list[Any]
    status: JobStatus | None


class TaskResultStore:
    """The calls of tasks of the service with *prefix* in *database*."""

    def __init__(self, database: JobDatabase, prefix: str) -> None:
        self._database = database
        self._prefix = prefix
        self._cleaned = 0.0

    async def add(self, identifier: str, call: object, delay: float) -> None:
        """Store the *call* of the message *identifier*, which is due in *delay* seconds.

        Raises ValueError when JSON cannot represent it, and PublishFailed.
        """
        row = self._new_row(identifier, call, delay)
        try:
            await commit_apart(self._database, self._add(row))
        except Exception as error:
            reason = str(error) or "the store does not respond"
            raise PublishFailed(f"the call of the task cannot be stored: {reason}", False) from error

    async def add_in(self, transaction: Statements, identifier: str, call: object, delay: float) -> None:
        """Store a call as `add` does, in the current transaction of *transaction* where that has the jobs."""
        if not self._database.is_transactional:
            await self.add(identifier, call, delay)
            return
        sql = ADD.format(table=self._database.table)
        await self._database.fetch_in(transaction, sql, self._new_row(identifier, call, delay))

    async def withdraw(self, identifier: str) -> None:
        """Delete a call whose message was not sent; while the store is unavailable it expires."""
        try:
            await commit_apart(self._database, self._fetch(DELETE, {"id": identifier}))
        except Exception as error:
            logger.warning("the call of a task that was not sent could not be deleted: %s", error)

    async def add_attempt(
        self, identifier: str, call: object, change: Mapping[str, object], ttl: float | None
    ) -> list[Any]:
        """Append *change* to the attempts of a task, and return all of them.

        The row expires in *ttl* seconds, or with a task that has not ended.
        """
        expires = time() + (UNFINISHED_TTL if ttl is None else ttl)
        line = orjson.dumps(change, option=orjson.OPT_APPEND_NEWLINE).decode()
        row = {"id": identifier, "call": _encoded(call), "attempt": line, "expires": expires}
        rows = await commit_apart(self._database, self._fetch(ADD_ATTEMPT, row))
        return _lines(rows[0][0])

    async def read(self, identifier: str) -> TaskRecord | None:
        """Return the record of a task; None for an unknown or an expired one."""
        values = {"prefix": self._prefix, "id": storable_text(identifier), "now": time()}
        rows = await self._database.read(READ.format(table=self._database.table), values)
        if not rows:
            return None
        *job, call, attempts = rows[0]
        if job[0] is None and attempts:
            return None  # the status has expired
        return TaskRecord(orjson.loads(call), _lines(attempts), None if job[0] is None else status_of(job))

    async def _add(self, values: Mapping[str, object]) -> None:
        if monotonic() - self._cleaned > CLEANUP_INTERVAL:
            self._cleaned = monotonic()
            await self._database.fetch(DELETE_EXPIRED.format(table=self._database.table), {"now": time()})
        await self._database.fetch(ADD.format(table=self._database.table), values)

    async def _fetch(self, sql: str, values: Mapping[str, object]) -> Rows:
        return await self._database.fetch(sql.format(table=self._database.table), {"prefix": self._prefix, **values})

    def _new_row(self, identifier: str, call: object, delay: float) -> Mapping[str, object]:
        expires = time() + delay + UNFINISHED_TTL
        return {"prefix": self._prefix, "id": identifier, "call": _encoded(call), "expires": expires}


def _encoded(call: object) -> str:
    return encode_json(call).decode()


def _lines(attempts: str) -> list[Any]:
    # Not splitlines(): JSON has the line separators of Unicode as they are.
    return [orjson.loads(line) for line in attempts.split("\n") if line]
