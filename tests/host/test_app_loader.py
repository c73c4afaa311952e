from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from scalekit.app_loader import load_target

Module = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    def write(source: str) -> str:
        (tmp_path / "target_module.py").write_text(source)
        return "target_module"

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    sys.modules.pop("target_module", None)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from starlette.applications import Starlette\napp = Starlette()", "app"),
        ("async def app(scope, receive, send): pass", "app"),
        ("class App:\n async def __call__(self, scope, receive, send): pass\napp = App()", "app"),
        ("from starlette.applications import Starlette\ndef make(): return Starlette()", "make"),
        ("from starlette.applications import Starlette\ndef make(debug=False): return Starlette(debug)", "make"),
        ("class Inner:\n async def app(scope, receive, send): pass", "Inner.app"),
        ("from starlette.applications import Starlette as app", "app"),
    ],
)
def test_an_application_or_a_factory_of_one_is_loaded(source: str, name: str, module: Module) -> None:
    assert callable(load_target(f"{module(source)}:{name}"))


def test_a_factory_is_called() -> None:
    assert isinstance(load_target("starlette.applications:Starlette"), Starlette)


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("app = 3", "app", "is neither an ASGI application nor a factory of one: int"),
        ("def app(environ, start_response): pass", "app", "is neither an ASGI application nor a factory"),
        ("def app(environ, start_response): pass", "app", "function; it takes two arguments as WSGI does: wrap it"),
        ("class App:\n def __call__(self, a, b): pass\napp = App()", "app", "App; it takes two arguments as WSGI does"),
        (
            "def make(settings, *, debug): pass",
            "make",
            "function; a factory takes no arguments: give defaults to settings",
        ),
        ("import json as app", "app", "module; name an application inside it"),
        ("def make(): return 3", "make", "returned int, which is not an ASGI application"),
        ("def make(): raise OSError('no disk')", "make", r"failed: OSError: no disk \(.*target_module.py:1\)"),
        ("x = 1", "app", "module 'target_module' has no 'app'"),
        ("1 / 0", "app", r"did not load: ZeroDivisionError: division by zero \(.*target_module.py:1\)"),
        ("import nothing_like_it", "app", "did not load: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("import target", "app", "did not load: ModuleNotFoundError: No module named 'target'"),
        ("x = 1\ndef f(:", "app", r"did not load: SyntaxError: invalid syntax \(.*target_module.py:2\)"),
        ("import sys\nsys.exit(3)", "app", r"did not load: SystemExit: 3 \(.*target_module.py:2\)"),
        ("def make(): raise SystemExit('no')", "make", r"failed: SystemExit: no \(.*target_module.py:1\)"),
        ("async def make(): pass", "make", "the factory target_module:make is asynchronous; make it with def"),
    ],
)
def test_a_mistake_in_a_target_is_reported(source: str, name: str, message: str, module: Module) -> None:
    with pytest.raises(ValueError, match=message):
        load_target(f"{module(source)}:{name}")


def test_a_missing_module_is_distinguished_from_a_missing_import_of_it() -> None:
    with pytest.raises(ValueError, match=r"there is no module 'no_such_thing.app' on the import path"):
        load_target("no_such_thing.app:app")
