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
"""The key of the ASGI scope that holds the context; the lifespan state stays the application's own."""


class Key(Generic[T]):
    """A typed name for a resource that one plugin provides and others use.

    ``KEY(request)``, or a websocket, returns the resource of the application that serves it, so a key is also a
    FastAPI dependency: ``Depends(KEY)``. Keys are compared by identity, not by name. *plugin* names the plugin that
    usually provides the resource, for messages.
    """

    def __init__(self, name: str, plugin: str = "") -> None:
        self.name = name
        self.plugin = plugin
        # FastAPI calls a plain function in a thread pool, which may be full. It inspects __wrapped__, older versions
        # the instance's __call__; KEY(request) still calls the method of the class.
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
        """Return the resource for *request*, for FastAPI as an awaitable; raises ResourceError without a provider."""
        if request is None:
            if fastapi_connection is None:
                raise TypeError(f"{self!r} is called with a request or websocket, such as KEY(request)")
            return self._resolve(fastapi_connection)
        return self._of(request)

    async def _resolve(self, fastapi_connection: HTTPConnection) -> T:
        return self._of(fastapi_connection)

    def _of(self, connection: HTTPConnection) -> T:
        return context_of(connection.scope).get(self)


class RequestKey(Key[T]):
    """A key whose resource belongs to one request or websocket: ``KEY(request)`` returns the same one each time.

    The plugin provides, under ``source``, the function that returns the resource of a request or websocket.
    """

    def __init__(self, name: str, plugin: str = "") -> None:
        super().__init__(name, plugin)
        self.source: Key[Callable[[HTTPConnection], T]] = Key(name, plugin)

    def _of(self, connection: HTTPConnection) -> T:
        return context_of(connection.scope).get(self.source)(connection)


AnyKey = Key[Any]


class Context:
    """One application's configuration and resources, passed to every hook.

    ``name`` is the name of the service, empty without one. ``redact(text)`` masks secrets in a text. For commands,
    ``async with context.started():`` runs the plugins around the body, without server and application;
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
        self._resources: dict[AnyKey, Any] = {}

    def config(self, kind: type[T]) -> T:
        """Return the parsed table of type *kind*; raises PluginError when no enabled plugin declares it."""
        try:
            return cast(T, self._configs[kind])
        except KeyError:
            raise PluginError(f"no enabled plugin has a table of type {kind.__name__}") from None

    def provide(self, key: Key[T], value: T) -> None:
        """Provide *value* under *key* until the calling plugin stops; raises ResourceError when *key* has a value."""
        if key in self._resources:
            raise ResourceError(f"resource {key.name!r} is provided twice")
        self._resources[key] = value

    def shared(self, key: Key[T], make: Callable[[], T]) -> T:
        """Return the resource shared under *key* by several hooks or plugins; the first call creates it with *make*."""
        if key not in self._resources:
            self._resources[key] = make()
        return self.get(key)

    def withdraw(self, key: AnyKey) -> None:
        """Remove the resource under *key*, if any."""
        self._resources.pop(key, None)

    def has(self, key: AnyKey) -> bool:
        """Return whether a plugin provides a resource under *key* now."""
        return key in self._resources

    def get(self, key: Key[T]) -> T:
        """Return the resource under *key*; raises ResourceError when no plugin provides it."""
        try:
            return cast(T, self._resources[key])
        except KeyError:
            remedy = f": turn on [plugins.{key.plugin}], or wait until it has started" if key.plugin else ""
            raise ResourceError(f"no started plugin provides {key.name!r}{remedy}") from None


def context_of(scope: MutableMapping[str, Any]) -> Context:
    """Return the context of the application that serves *scope*; raises ResourceError when *scope* has none."""
    try:
        return cast(Context, scope[SCOPE_KEY])
    except KeyError:
        message = "this request is not served by a started ScaleKit application: did its lifespan run?"
        raise ResourceError(message) from None
