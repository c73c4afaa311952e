"""The tables ``[[plugins.queue.schedules]]``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from scalekit import Duration, Table
from scalekit.contracts import Cron, Every, MissedPolicy, OverlapPolicy, Rule, Schedule, validate_message_name


def _check_period(period: Duration) -> Duration:
    Every(period)
    return period


class ScheduleConfig(Table):
    """One schedule: when it is due, and the messages that it publishes."""

    name: Annotated[str, AfterValidator(validate_message_name)]
    """Name of the schedule; that of one in the code replaces the rule and the policies of that one."""
    every: Annotated[Duration, AfterValidator(_check_period)] | None = None
    """Period, counted from the epoch; either this or ``cron``."""
    cron: str | None = None
    """Cron expression: minute, hour, day, month and weekday."""
    tz: str = "UTC"
    """Time zone of ``cron``."""
    message: Annotated[str, AfterValidator(validate_message_name)] | None = None
    """Name of the messages that it publishes; the name of the schedule by default."""
    body: dict[str, Any] | None = None
    """Body of the messages; the name of the schedule and the due time by default."""
    missed: MissedPolicy = "run_once"
    """Ticks that no process published in time: ``run_once`` publishes the last one, ``run_all`` each, ``skip`` none."""
    overlap: OverlapPolicy = "skip"
    """Ticks during the run before: ``skip`` drops them, ``queue`` publishes them after it, ``allow`` publishes them."""
    jitter: Annotated[Duration, Field(ge=0)] = Duration("0s")
    """Maximum time by which ticks are delayed, each by another one."""

    @model_validator(mode="after")
    def _check_rule(self) -> ScheduleConfig:
        if (self.every is None) == (self.cron is None):
            raise ValueError(f'schedule {self.name!r} needs either every = "5m" or cron = "0 3 * * *"')
        self.schedule()
        return self

    def schedule(self) -> Schedule:
        """Return the schedule; raises ValueError for an invalid rule or policies that exclude each other."""
        rule: Rule = Cron(self.cron, self.tz) if self.cron is not None else Every(self.every or 0)
        return Schedule(self.name, rule, self.missed, self.overlap, round(self.jitter * 1000))
