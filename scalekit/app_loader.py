"""Import the application that the file names."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from pkgutil import iter_modules
from sysconfig import get_path
from types import ModuleType
from typing import cast

from starlette.types import ASGIApp

from scalekit.config.name_suggestion import did_you_mean

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")


_OTHERS = ("<frozen", f"{Path(__file__).parent}{os.sep}", *(f"{get_path(name)}{os.sep}" for name in _LIBRARIES))
"""Prefixes of files that are not the user's own code."""


def load_target(target: str) -> ASGIApp:
    """Import ``module.path:name`` and return the ASGI application, or the one that a factory of that name returns.

    Raises ValueError when the module, the name or the object is wrong.
    """
    module_name, _, attribute = target.partition(":")
    found: object = _import(module_name)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ValueError(f"module {module_name!r} has no {part!r}{did_you_mean(part, dir(found))}") from None
    return application(found, target)


def application(found: object, name: str) -> ASGIApp:
    """Return *found* when it is an ASGI application, or the application that the factory *found* returns.

    An application takes scope, receive and send; a factory, such as a class, takes no arguments. Raises ValueError
    when *found* is neither.
    """
    if _accepts(found, 3):
        return cast(ASGIApp, found)
    if not _accepts(found, 0):
        kind = type(found).__name__
        raise ValueError(f"{name} is neither an ASGI application nor a factory of one: {kind}{_remedy(found)}")
    try:
        made = cast(Callable[[], object], found)()
    except (Exception, SystemExit) as error:
        raise ValueError(f"the factory {name} failed: {describe_error(error)}") from error
    if inspect.iscoroutine(made):
        made.close()
        raise ValueError(f"the factory {name} is asynchronous; make it with def, and await in a lifespan")
    if not _accepts(made, 3):
        raise ValueError(f"the factory {name} returned {type(made).__name__}, which is not an ASGI application")
    return cast(ASGIApp, made)


def _remedy(found: object) -> str:
    """Return the remedy for *found*, which is no application, as the end of a message."""
    if inspect.ismodule(found):
        return "; name an application inside it"
    if not callable(found):
        return ""
    if not isinstance(found, type) and _accepts(found, 2):
        return "; it takes two arguments as WSGI does: wrap it, for example in asgiref.wsgi.WsgiToAsgi"
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return ""
    names = [each.name for each in parameters if each.default is each.empty and each.kind not in _VARIADIC]
    return f"; a factory takes no arguments: give defaults to {', '.join(names)}"


def _accepts(found: object, count: int) -> bool:
    if not callable(found) or (isinstance(found, type) and count):
        return False
    try:
        inspect.signature(found).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            near = did_you_mean(name, (each.name for each in iter_modules([os.getcwd()]))) or "; start from its folder"
            raise ValueError(f"there is no module {name!r} on the import path{near}") from None
        raise ValueError(f"module {name!r} did not load: {describe_error(error)}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"module {name!r} did not load: {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Return *error* with its type and the innermost line of the user's own code."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((each for each in reversed(frames) if not each.filename.startswith(_OTHERS)), frames[-1])
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
