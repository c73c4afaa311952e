"""What importing has left behind that workers which are forked afterwards cannot have, or should not share."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_WARNINGS = 20
REMEDY = "make it when a worker starts, in a lifespan, or set server.preload = false"


class ImportEffects:
    """Threads, open files and random generators; those files do not count that were open when this was made."""

    def __init__(self) -> None:
        self._before = set(_descriptors())

    def threads(self) -> list[str]:
        """Return the names of the threads that run beside the main one, native ones included."""
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        tasks = [int(each) for each in os.listdir("/proc/self/task") if int(each) != os.getpid()]
        return [names.get(task) or _task_name(task) for task in tasks]

    def warnings(self) -> list[str]:
        """Return one sentence for each thing that all workers would share."""
        opened = [_described(each) for each in _descriptors() if each not in self._before]
        found = [f"importing has opened {each}: all workers share it; {REMEDY}" for each in opened if each]
        found += [
            f"importing has made {each}: all workers draw the same numbers from it; {REMEDY}" for each in _generators()
        ]
        return found[:MOST_WARNINGS]


def _descriptors() -> list[int]:
    return sorted(map(int, os.listdir("/proc/self/fd")))


def _task_name(task: int) -> str:
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "one that has just ended"


def _described(descriptor: int) -> str:
    """Return what *descriptor* is when processes must not share it, else nothing."""
    with suppress(OSError):
        kind = os.fstat(descriptor).st_mode
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if stat.S_ISSOCK(kind):
            return _socket(descriptor)
        if name == "anon_inode:[eventpoll]":
            return "the selector of an event loop"
        if stat.S_ISREG(kind) and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
            return f"the file {name} for reading and writing"
    return ""


def _socket(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as opened:
        own = _address(opened.getsockname())
        try:
            return f"a socket to {_address(opened.getpeername())}"
        except OSError:
            return f"a socket at {own}"


def _address(address: Any) -> str:
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return repr(address) if address else "another one in this process"


def _generators() -> Iterator[str]:
    """Yield the random generators that were made; not those of the modules themselves, which forks seed anew."""
    kinds = (random.Random, *_numpy_kinds())
    made = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
    seeded = {id(each) for each in (random._inst, *_numpy_own())}
    made = [each for each in made if id(each) not in seeded and not isinstance(each, random.SystemRandom)]
    if made:
        names = {id(value): f"{name}.{key}" for name, key, value in _globals() if issubclass(type(value), kinds)}
        for each in made:
            yield f"the random generator {names.get(id(each)) or f'{type(each).__name__} of no module'}"


def _numpy_kinds() -> tuple[type, ...]:
    numpy_random = sys.modules.get("numpy.random")
    return (numpy_random.Generator, numpy_random.RandomState) if numpy_random else ()


def _numpy_own() -> list[object]:
    legacy = sys.modules.get("numpy.random.mtrand")
    return [legacy._rand] if legacy else []


def _globals() -> Iterator[tuple[str, str, object]]:
    for name, module in list(sys.modules.items()):
        for key, value in list(getattr(module, "__dict__", {}).items()):
            yield name, key, value
