"""A page of the console: what it collects in the workers, how it is shown, and its actions."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from scalekit.pages.blocks import Block

Query = Mapping[str, str]
Collect = Callable[[Query], Awaitable[Any]]
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
"""Names of pages and actions, which are segments of paths."""


class PageGroup(StrEnum):
    """The part of the navigation that has a page."""

    SERVICE = "Service"
    RESOURCES = "Resources"
    PROCESS = "Process"


@dataclass(frozen=True, slots=True)
class PageView:
    """What a page is rendered from: the data of each worker by its number, and the query of the request.

    *missing* are the workers without data, which did not respond in time or failed; the console reports them.
    """

    workers: Mapping[str, Any]
    query: Query
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the form of an action; with *choices* one of them is chosen."""

    name: str
    label: str
    required: bool = False
    choices: Sequence[str] = ()
    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """The result of an action that runs in one worker: a sentence, and *blocks* to show below it."""

    message: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True, slots=True)
class PageAction:
    """An action of an operator.

    *run* receives the values of *fields* by name, runs in the worker that responds or in all workers, and returns a
    sentence about the result, or in one worker an ActionOutcome. It raises ValueError with the remedy when a value is
    invalid. With *confirm*, a question, the operator must confirm.
    """

    name: str
    label: str
    run: Callable[[Mapping[str, str]], Awaitable[str | ActionOutcome]]
    fields: Sequence[FormField] = ()
    runs_in: Literal["one worker", "all workers"] = "one worker"
    confirm: str = ""


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page of the console at ``/-/<name>``.

    *collect* runs in every worker with the query of the request and returns data that JSON can represent. *render*
    runs in the worker that responds, and returns the blocks; a page without *collect* reads what it shows there. A
    *live* page is rendered again every second while an operator looks at it, so both must be cheap.
    """

    name: str
    title: str
    render: Callable[[PageView], Awaitable[Sequence[Block]]]
    collect: Collect | None = None
    actions: Sequence[PageAction] = ()
    group: PageGroup = PageGroup.RESOURCES
    live: bool = False
    description: str = field(default="")
    """One sentence about the page, for the index and for agents."""

    def __post_init__(self) -> None:
        for name in (self.name, *(action.name for action in self.actions)):
            if not NAME.fullmatch(name):
                raise ValueError(f"page {self.name!r}: expected a name such as dead-letters, got {name!r}")
