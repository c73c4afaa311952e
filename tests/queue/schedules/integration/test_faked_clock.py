"""Ticks have their effect once, and workers run on, while the clock of the machine or of PostgreSQL is set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

import pytest

from tests.processes import Box, wait_for
from tests.servers import Postgres, Server, find
from tests.workers import Supervised, workers_of

pytestmark = pytest.mark.needs("postgres", "faketime")
PERIOD = 0.5
FORWARD = 20
"""Seconds by which the clock is set: all messages in flight and all leases have expired then."""
BACK = 3
"""Seconds by which it is set back: the schedule continues once the clock has caught up."""
MORE = 4
"""Ticks that are due after the clock has caught up."""
LIMIT = 120.0
SERVICE = f"""
from scalekit.contracts import DATABASE, Consumers, Message, Tick
from starlette.applications import Starlette

INSERT = "INSERT INTO effects VALUES (:due)"
consumers = Consumers()
app = Starlette()


@consumers.every("{PERIOD}s", missed="run_all", overlap="allow", retry=["100ms"] * 20)
async def work(message: Message[Tick]) -> None:
    due = message.body.due.timestamp()
    await message.context.get(DATABASE).execute(INSERT, {{"due": round(due / {PERIOD})}})
"""
EFFECTS = "CREATE TABLE effects (due bigint)"
TOML = """
[server]
workers = 2
preload = false # a fork while libfaketime holds its lock would hang
drain_delay = "100ms"
[plugins.pool]
url = "{url}"
[plugins.queue]
url = "{queue}"
consumers = "service:consumers"
visibility_timeout = "2s"
"""


class Clock:
    """The clock of processes with `environment`: that of the machine, and the seconds by which a test sets it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        with Box("faketime") as box:  # it tells the path of its library
            library = box.run(find("faketime"), "-m", "-f", "+0", "printenv", "LD_PRELOAD").stdout.strip()
        self.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # without it each look at the clock reads the file
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set it to *seconds* after the clock of the machine."""
        new = self._file.with_suffix(".new")
        new.write_text(f"+{seconds}\n")
        new.chmod(0o644)
        os.replace(new, self._file)


class Faked(Server):
    """A server with a clock that a test sets."""

    clock: Clock

    def prepare(self) -> None:
        super().prepare()
        self.clock = Clock(self.box.directory)
        self.box.environment |= self.clock.environment

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        for name in ("faketime_shm_", "sem.faketime_sem_"):  # which a killed process leaves
            Path("/dev/shm", f"{name}{self.process.pid}").unlink(missing_ok=True)


class FakedPostgres(Faked, Postgres):
    """A PostgreSQL with a clock that a test sets."""


class FakedService(Faked, Supervised):
    """A service with a clock that a test sets."""


@contextmanager
def on_faked_machine() -> Iterator[tuple[Supervised, Clock, Postgres]]:
    """Run a service whose schedules have the clock of its machine, which is set."""
    with Postgres() as postgres:
        postgres.sql(EFFECTS)
        toml = TOML.format(url=postgres.url, queue="sqlite:///queue.db")
        with FakedService(toml, {"service": SERVICE}) as service:
            yield service, service.clock, postgres


@contextmanager
def on_faked_postgres() -> Iterator[tuple[Supervised, Clock, Postgres]]:
    """Run a service whose schedules have the clock of PostgreSQL, which is set."""
    with FakedPostgres() as postgres:
        postgres.sql(EFFECTS)
        toml = TOML.format(url=postgres.url, queue="database:")
        with Supervised(toml, {"service": SERVICE}) as service:
            yield service, postgres.clock, postgres


@pytest.mark.parametrize("serve", [on_faked_machine, on_faked_postgres])
def test_a_clock_that_is_set_repeats_no_effect_loses_no_tick_and_ends_no_worker(
    serve: Callable[[], AbstractContextManager[tuple[Supervised, Clock, Postgres]]],
) -> None:
    with serve() as (service, clock, postgres):

        def wait_last(least: int) -> int:
            """Return the number of the last tick once it is at least *least*."""
            wait_for(f"the tick {least}", lambda: last_tick(postgres) >= least, limit=LIMIT)
            return last_tick(postgres)

        first = wait_last(1)
        workers = workers_of(service)
        clock.set(FORWARD)
        wait_last(first + round(FORWARD / PERIOD))
        wait_for("all effects", lambda: is_complete(postgres), limit=LIMIT)
        clock.set(FORWARD - BACK)
        wait_last(last_tick(postgres) + MORE)
        wait_for("all effects", lambda: is_complete(postgres), limit=LIMIT)
        assert postgres.sql("SELECT count(*) - count(DISTINCT due) FROM effects") == "0"
        assert workers_of(service) == workers, service.log()


def last_tick(postgres: Postgres) -> int:
    return int(postgres.sql("SELECT coalesce(max(due), 0) FROM effects"))


def is_complete(postgres: Postgres) -> bool:
    """Return whether every tick from the first one to the last one has its effect."""
    return postgres.sql("SELECT max(due) - min(due) + 1 - count(DISTINCT due) FROM effects") == "0"
