"""The kinds of tests, found from their marks and their code: which are quick, and which start processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FunctionType, MethodType
from typing import Any

import pytest
from hypothesis import is_hypothesis_test

LOAD = frozenset({"k6", "wrk", "slowhttptest"})
"""Tools that load the whole machine."""
STARTERS: tuple[object, ...] = (
    subprocess,
    multiprocessing,
    subprocess.Popen,
    subprocess.run,
    os.fork,
    asyncio.create_subprocess_exec,
    asyncio.create_subprocess_shell,
)
NAMES = {"fork", "forkpty", "create_subprocess_exec", "create_subprocess_shell", "posix_spawn", "spawn_process"}


def mark(item: pytest.Item) -> None:
    """Add the marks ``unit`` and ``load``."""
    needed = {name for marker in item.iter_markers("needs") for name in marker.args}
    if needed & LOAD:
        item.add_marker("load")
    if not (needed or _takes_long(item) or item.get_closest_marker("process") or _starts_process(item)):
        item.add_marker("unit")


def _takes_long(item: pytest.Item) -> bool:
    """Return whether the test is marked as slow, or runs hundreds of examples."""
    return bool(item.get_closest_marker("slow")) or is_hypothesis_test(getattr(item, "obj", None))


def _starts_process(item: pytest.Item) -> bool:
    return any(map(starts_process, _functions(item)))


@cache
def starts_process(function: Callable[..., object]) -> bool:
    """Return whether *function*, or a function of the tests that it names, can start a process."""
    seen: set[int] = set()
    waiting: list[object] = [function]
    while waiting:
        value = waiting.pop()
        if any(value is starter for starter in STARTERS):
            return True
        if id(value) in seen or not _is_ours(value):
            continue
        seen.add(id(value))
        for code, names in _codes(value):
            if NAMES & set(code.co_names):
                return True
            waiting += [names[name] for name in _words(code) if name in names]
        waiting += _parts(value)
    return False


def _functions(item: pytest.Item) -> Iterator[Callable[..., object]]:
    """Yield the test's function and those of the fixtures that it uses."""
    if isinstance(item, pytest.Function):
        yield _plain(item.obj)
        if item.cls is not None:
            yield item.cls
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            yield from (_plain(definition.func) for definition in definitions)


def _plain(function: Any) -> Any:
    function = function.__func__ if isinstance(function, MethodType) else function
    hypothesis = getattr(function, "hypothesis", None)
    return hypothesis.inner_test if hypothesis is not None else function


def _is_ours(value: object) -> bool:
    value = _unwrapped(value)
    return isinstance(value, FunctionType | type) and value.__module__.split(".")[0] == "tests"


def _unwrapped(value: object) -> object:
    while isinstance(value, FunctionType | staticmethod | classmethod):
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is None:
            return value
        value = wrapped
    return value


def _codes(value: object) -> Iterator[tuple[CodeType, dict[str, Any]]]:
    value = _unwrapped(value)
    if isinstance(value, FunctionType):
        yield value.__code__, value.__globals__


def _words(code: CodeType) -> Iterator[str]:
    """Yield the names that the code and its inner functions use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _words(constant)


def _parts(value: object) -> list[object]:
    """Return the methods, the getters of properties, and the bases of a class."""
    if not isinstance(value, type):
        return []
    members = [member.fget if isinstance(member, property) else member for member in vars(value).values()]
    return [*members, *value.__bases__]
