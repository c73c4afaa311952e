"""The context of one application: parsed tables by type and live resources by key.

This module evaluates its annotations: FastAPI reads those of a key, so that ``Depends(KEY)`` works.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Generic, TypeVar, cast, overload

from starlette.requests import HTTPConnection

from scalekit.config.tables import Server
from scalekit.errors import PluginError, ResourceError

T = TypeVar("T")

SCOPE_KEY = "scalekit"
"""Where the ASGI scope carries the context; the application's lifespan state stays the application's own."""


class Key(Generic[T]):
    """A typed name for a resource that one plugin provides and others use.

    Called with a request or websocket it returns the resource of the application that serves it, so a key is also a
    FastAPI dependency: ``Depends(KEY)``. Keys are compared by identity, not by name; *plugin* usually provides it.
    """

    def __init__(self, name: str, plugin: str = "") -> None:
        self.name = name
        self.plugin = plugin
        # FastAPI calls what is no coroutine function in a thread of a pool, which may be full. It looks at what is
        # wrapped, its older versions at the attribute; neither changes what KEY(request) is, which is the class's.
        vars(self).update({"__wrapped__": self._resolve, "__call__": self._resolve})

    def __repr__(self) -> str:
        return f"Key({self.name!r})"

    @overload
    def __call__(self, request: HTTPConnection) -> T: ...
    @overload
    def __call__(self, *, fastapi_connection: HTTPConnection) -> Awaitable[T]: ...
    def __call__(
        self, request: HTTPConnection | None = None, *, fastapi_connection: HTTPConnection | None = None
    ) -> T | Awaitable[T]:
        """Return the resource for *request*, or an awaitable of it to FastAPI; raises ResourceError without it."""
        if request is None:
            if fastapi_connection is None:
                raise TypeError(f"{self!r} is called with a request or websocket, such as KEY(request)")
            return self._resolve(fastapi_connection)
        return context_of(request.scope).get(self)

    async def _resolve(self, fastapi_connection: HTTPConnection) -> T:
        return context_of(fastapi_connection.scope).get(self)


class Context:
    """One application's configuration and resources, given to every hook.

    ``name`` is that of the service, empty when the file gives none. ``redact(text)`` takes secrets out of a text.
    ``async with context.started():`` runs the plugins, without server and application, around the body: for commands.
    ``context.started(KEY)`` runs only the plugin that provides the key, and its dependencies.
    """

    __slots__ = ("_configs", "_resources", "name", "redact", "server", "started")

    def __init__(
        self, server: Server, configs: Mapping[type[Any], Any], redact: Callable[[str], str] = str, name: str = ""
    ) -> None:
        self.server = server
        self.name = name
        self.redact = redact
        self.started: Callable[..., AbstractAsyncContextManager[None]] = nullcontext
        self._configs = dict(configs)
        self._resources: dict[Key[Any], Any] = {}

    def config(self, kind: type[T]) -> T:
        """Return the parsed table of type *kind*; raises PluginError when no enabled plugin declared it."""
        try:
            return cast(T, self._configs[kind])
        except KeyError:
            raise PluginError(f"no enabled plugin has a table of type {kind.__name__}") from None

    def provide(self, key: Key[T], value: T) -> None:
        """Make *value* available under *key* until the plugin that calls this stops."""
        if key in self._resources:
            raise ResourceError(f"resource {key.name!r} is provided twice")
        self._resources[key] = value

    def shared(self, key: Key[T], make: Callable[[], T]) -> T:
        """Return the resource shared under *key* by several hooks or plugins; the first call creates it with *make*."""
        if key not in self._resources:
            self._resources[key] = make()
        return self.get(key)

    def withdraw(self, key: Key[Any]) -> None:
        """Remove the resource under *key*, if there is one."""
        self._resources.pop(key, None)

    def has(self, key: Key[Any]) -> bool:
        """Return whether a resource is provided under *key* now."""
        return key in self._resources

    def get(self, key: Key[T]) -> T:
        """Return the resource under *key*; raises ResourceError when nothing provides it."""
        try:
            return cast(T, self._resources[key])
        except KeyError:
            remedy = f": turn on [plugins.{key.plugin}], or wait until it has started" if key.plugin else ""
            raise ResourceError(f"nothing provides {key.name!r}{remedy}") from None


def context_of(scope: MutableMapping[str, Any]) -> Context:
    """Return the context of the application that serves *scope*; raises ResourceError when none does."""
    try:
        return cast(Context, scope[SCOPE_KEY])
    except KeyError:
        message = "this request is not served by a started ScaleKit application: did its lifespan run?"
        raise ResourceError(message) from None
