"""Contract of durable tasks: functions that a request calls by a message, once its response is certain."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import GenericAlias
from typing import Any, NotRequired, Protocol, TypedDict, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

# Pydantic, which depends on it, accepts no other TypedDict on Python 3.11.
from typing_extensions import TypedDict as ValidatedDict

from scalekit.context import RequestKey
from scalekit.contracts.messages import Message
from scalekit.strict_json import encode_json

TaskFunction = Callable[..., Any]
"""A synchronous or an asynchronous function."""


class TaskOptions(TypedDict, total=False):
    """The options of a task, which are those of a consumer."""

    prefetch: int
    concurrency: int
    retry: Sequence[str | float]
    timeout: str | float
    dedupe: str | float | None
    result_ttl: str | float | None
    rate: str | None
    limit_policy: str | None


class DurableTask:
    """A *function* that messages *name* call; ``handler`` is the handler of their consumer.

    Raises ValueError for a parameter without annotation, or of a type that pydantic cannot validate.
    """

    def __init__(self, function: TaskFunction, name: str = "") -> None:
        if not inspect.isfunction(function):
            raise ValueError(f"expected a function as a task, got {function!r}")
        self.function = function
        self.name = name or f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        hints = get_type_hints(function, include_extras=True)
        parameters = self._signature.parameters.values()
        messages = [each.name for each in parameters if _is_message(hints.get(each.name))]
        arguments = [each for each in parameters if each.name not in messages]
        types = {each.name: self._type_of(each, hints) for each in arguments}
        self._message_names = messages
        self._arguments = self._signature.replace(parameters=arguments)
        self._adapters = {each: self._adapter(each, kind) for each, kind in types.items()}
        self.handler = self._make_handler({each.name: _presence(each, types[each.name]) for each in arguments})

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of a message that calls the function with these arguments.

        Raises TypeError for arguments that the function does not take, ValueError for those that do not validate or are
        other values once they have been JSON.
        """
        try:
            arguments = self._arguments.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        return {name: self._encode_argument(name, value) for name, value in arguments.items()}

    def _encode_argument(self, name: str, value: Any) -> Any:
        adapter = self._adapters[name]
        try:
            validated = adapter.validate_python(value)
            encoded = adapter.dump_python(validated, mode="json")
            is_equal = adapter.validate_json(encode_json(encoded)) == validated
        except ValidationError as error:
            raise ValueError(f"argument {name!r} of {self.name}: {_first_problem(error)}") from None
        except ValueError as error:
            raise ValueError(f"argument {name!r} of {self.name}: {error}") from None
        if not is_equal:
            raise ValueError(
                f"argument {name!r} of {self.name}: the function would receive another value, because JSON does not"
                " carry all of it; annotate the parameter with the exact type"
            )
        return encoded

    def _type_of(self, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
        if parameter.name not in hints:
            raise ValueError(f"parameter {parameter.name!r} of {self.name} has no annotation; annotate it")
        hint = hints[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            return GenericAlias(tuple, (hint, ...))
        return GenericAlias(dict, (str, hint)) if parameter.kind is parameter.VAR_KEYWORD else hint

    def _adapter(self, name: str, kind: Any) -> TypeAdapter[Any]:
        try:
            return TypeAdapter(kind)
        except PydanticUserError as error:
            raise ValueError(
                f"parameter {name!r} of {self.name} cannot be carried by a message: {error.message.splitlines()[0]}"
            ) from None

    def _make_handler(self, fields: Mapping[str, Any]) -> Callable[[Message[Any]], Any]:
        function, signature, message_names = self.function, self._signature, self._message_names
        is_asynchronous = inspect.iscoroutinefunction(function)

        async def handler(message: Message[Any]) -> Any:
            call = signature.bind_partial()
            call.arguments.update(message.body)
            call.arguments.update(dict.fromkeys(message_names, message))
            if is_asynchronous:
                return await function(*call.args, **call.kwargs)
            return await asyncio.to_thread(function, *call.args, **call.kwargs)

        make_type: Any = ValidatedDict  # with fields that only the function knows
        body = make_type(function.__name__, dict(fields))
        body.__pydantic_config__ = ConfigDict(extra="forbid")
        handler.__annotations__ = {"message": GenericAlias(Message, (body,))}
        for attribute in ("__module__", "__qualname__", "__doc__"):
            setattr(handler, attribute, getattr(function, attribute))
        return handler


class DurableTasks(Protocol):
    """The tasks of one request, as FastAPI's ``BackgroundTasks``; a process that dies after the response loses none.

    They are stored before the response starts, those of a streaming response before its end. A response with a status
    from 400, or an exception, stores none. Without the store the response is a 503.
    """

    def add_task(self, function: TaskFunction, /, *args: Any, **kwargs: Any) -> str:
        """Add a call of *function*, which ``@consumers.task()`` has declared; return the id of its message.

        Raises TypeError and ValueError for invalid arguments, and RuntimeError once the response has been sent.
        """
        ...

    async def flush(self) -> None:
        """Store the tasks added so far now, inside a transaction of `DATABASE` as a part of it."""
        ...


DURABLE_TASKS: RequestKey[DurableTasks] = RequestKey("durable tasks", plugin="queue")
"""The tasks of one request: they run in a consumer, with retries, after the response."""


def _is_message(hint: Any) -> bool:
    return hint is Message or get_origin(hint) is Message


def _presence(parameter: inspect.Parameter, kind: Any) -> Any:
    is_variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return NotRequired[kind] if is_variable or parameter.default is not parameter.empty else kind


def _first_problem(error: ValidationError) -> str:
    """Return the first problem without the value, which may be a secret."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else problem["msg"]
