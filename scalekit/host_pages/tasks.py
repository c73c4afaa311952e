"""The page of asyncio tasks and threads: tasks by coroutine, where they wait, and stacks, without local variables."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from types import CodeType, FrameType
from typing import Any
from weakref import WeakKeyDictionary

from scalekit.pages.blocks import Block, Code, Column, DataTable, Facts, Link, Text, Unit
from scalekit.pages.page import ConsolePage, PageGroup, PageView, Query

MAX_TASKS = 5_000
"""Tasks that are examined at a look; the others are only counted."""
MAX_GROUPS = 200
MAX_STACKS = 20
"""Stacks of tasks, and of threads, that are shown of each worker."""
MAX_FRAMES = 50
WAITING_FILES = (f"{os.path.dirname(asyncio.__file__)}{os.sep}", threading.__file__)
"""Files whose functions wait for others: their callers tell for what."""
DELAY_LOOKS = 10
DELAY_INTERVAL = 0.01
"""Seconds of each look at the delay of the event loop."""
GROUPS = (
    Column("worker"),
    Column("coroutine", code=True),
    Column("tasks"),
    Column("seen for", Unit.SECONDS),
    Column("suspended in", code=True),
)
THREADS = (Column("worker"), Column("thread"), Column("daemon"), Column("runs", code=True))
WORKERS = (Column("worker"), Column("tasks"), Column("threads"), Column("delay of the event loop", Unit.SECONDS))
SEEN = (
    "Tasks do not record when they began: a time is the one since a look at this page has found the oldest of them "
    "for the first time."
)


def tasks_page() -> ConsolePage:
    """Return the page of the tasks and threads of every worker."""
    watch = TaskWatch()

    async def collect(query: Query) -> dict[str, Any]:
        delay = await _loop_delay()
        return {"delay": delay, **watch.describe(query.get("coroutine", "")), **_threads(query.get("thread", ""))}

    async def render(view: PageView) -> Sequence[Block]:
        stacks = _stacks(view)
        return [*stacks, *_tables(view)] if stacks else _tables(view)

    return ConsolePage(
        "tasks",
        "Tasks and threads",
        render,
        collect,
        group=PageGroup.PROCESS,
        description="Asyncio tasks by coroutine, where they wait, threads, stacks, and the delay of the event loop.",
    )


class TaskWatch:
    """Groups the tasks of the running loop, and remembers when it has seen each for the first time."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[asyncio.Task[Any], float] = WeakKeyDictionary()

    def describe(self, coroutine: str) -> dict[str, Any]:
        """Return the tasks by coroutine, and the stacks of those of *coroutine*."""
        now, current = monotonic(), asyncio.current_task()
        groups: dict[str, dict[str, Any]] = {}
        stacks: list[dict[str, Any]] = []
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks[:MAX_TASKS]:
            name, frames = coroutine_name(task), list(suspended_frames(task))
            seen_for = now - self._seen.setdefault(task, now)
            group = groups.setdefault(name, {"count": 0, "seen_for": 0.0, "places": {}})
            group["count"] += 1
            group["seen_for"] = max(group["seen_for"], seen_for)
            place = _informative(frames) or "it has not run yet"
            group["places"][place] = group["places"].get(place, 0) + 1
            if name == coroutine and len(stacks) < MAX_STACKS:
                stacks.append({"task": task.get_name(), "seen_for": seen_for, "frames": frames})
        largest = sorted(groups.items(), key=lambda item: -item[1]["count"])
        shown = {name: {**group, "places": _most(group["places"])} for name, group in largest[:MAX_GROUPS]}
        more = {"more_tasks": max(0, len(tasks) - MAX_TASKS), "more_groups": max(0, len(groups) - MAX_GROUPS)}
        return {"tasks": len(tasks), "groups": shown, "task_stacks": stacks, **more}


def coroutine_name(task: asyncio.Task[Any]) -> str:
    """Return the module and the qualified name of the coroutine of *task*."""
    coroutine: Any = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
    module = frame.f_globals.get("__name__", "") if frame is not None else type(coroutine).__module__
    return f"{module}.{getattr(coroutine, '__qualname__', type(coroutine).__qualname__)}"


def suspended_frames(task: asyncio.Task[Any]) -> Iterator[str]:
    """Yield the places where *task* is suspended, the outermost first.

    A task has the frame of its own coroutine only; those of the coroutines that it awaits are found through them.
    """
    waiting: Any = task.get_coro()
    for _ in range(MAX_FRAMES):
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(waiting, f"{prefix}_frame", None)
            if isinstance(frame, FrameType):
                yield _place(frame.f_code, frame.f_lineno)
                waiting = getattr(waiting, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await", None)
                break
        else:
            return


def _threads(wanted: str) -> dict[str, Any]:
    frames = sys._current_frames()
    threads: list[dict[str, Any]] = []
    stacks: list[dict[str, Any]] = []
    for thread in threading.enumerate():
        stack = _stack(frames.get(thread.ident or 0))
        threads.append({"name": thread.name, "daemon": thread.daemon, "runs": _informative(stack)})
        if thread.name == wanted and len(stacks) < MAX_STACKS:
            stacks.append({"thread": thread.name, "frames": stack})
    return {"threads": threads, "thread_stacks": stacks}


def _stack(frame: FrameType | None) -> list[str]:
    found: list[str] = []
    while frame is not None and len(found) < MAX_FRAMES:
        found.append(_place(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _place(code: CodeType, line: int | None) -> str:
    """Return function, file and line, without the text of the line, which may contain a secret."""
    return f"{code.co_qualname} ({code.co_filename}:{line or 0})"


def _informative(places: Sequence[str]) -> str:
    """Return the innermost of *places* outside of asyncio and threading, or the innermost one, or an empty text."""
    own = [place for place in places if not place.partition(" (")[2].startswith(WAITING_FILES)]
    return (own or [*places] or [""])[-1]


def _most(places: Mapping[str, int]) -> str:
    return max(places, key=places.__getitem__)


async def _loop_delay() -> float:
    """Return the longest delay of the event loop during several short sleeps, in seconds."""
    delay, loop = 0.0, asyncio.get_running_loop()
    for _ in range(DELAY_LOOKS):
        due = loop.time() + DELAY_INTERVAL
        await asyncio.sleep(DELAY_INTERVAL)
        delay = max(delay, loop.time() - due)
    return delay


def _tables(view: PageView) -> list[Block]:
    workers = [(worker, each["tasks"], len(each["threads"]), each["delay"]) for worker, each in view.workers.items()]
    groups = [
        (worker, Link(name, "tasks", {"coroutine": name}), group["count"], group["seen_for"], group["places"])
        for worker, each in view.workers.items()
        for name, group in each["groups"].items()
    ]
    threads = [
        (worker, Link(thread["name"], "tasks", {"thread": thread["name"]}), thread["daemon"], thread["runs"])
        for worker, each in view.workers.items()
        for thread in each["threads"]
    ]
    more = sum(each["more_groups"] for each in view.workers.values())
    unseen = sum(each["more_tasks"] for each in view.workers.values())
    total = {
        "tasks": sum(each["tasks"] for each in view.workers.values()),
        "threads": len(threads),
        "delay of the event loop": max((each["delay"] for each in view.workers.values()), default=None),
    }
    blocks: list[Block] = [
        Facts(total, "All workers", {"delay of the event loop": Unit.SECONDS}),
        DataTable(WORKERS, workers, "Workers"),
        DataTable(GROUPS, groups, "Tasks by coroutine", more),
        Text(SEEN),
        DataTable(THREADS, threads, "Threads"),
    ]
    return [*blocks, Text(f"{unseen} more tasks are not examined.")] if unseen else blocks


def _stacks(view: PageView) -> list[Block]:
    tasks = [
        Code("\n".join(each["frames"]), f"Worker {worker}, task {each['task']}")
        for worker, data in view.workers.items()
        for each in data["task_stacks"]
    ]
    threads = [
        Code("\n".join(each["frames"]), f"Worker {worker}, thread {each['thread']}")
        for worker, data in view.workers.items()
        for each in data["thread_stacks"]
    ]
    found: list[Block] = [*tasks, *threads]
    if not found and (view.query.get("coroutine") or view.query.get("thread")):
        return [Text("No task or thread of this name runs any more.")]
    return found
