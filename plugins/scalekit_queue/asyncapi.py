"""The AsyncAPI document of the messages that an application consumes and publishes, and the command that prints it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import click
import orjson
from pydantic import TypeAdapter

from scalekit import Context
from scalekit.contracts import Consumer, Consumers, PublishedMessage
from scalekit_queue.config import QueueConfig

VERSION = "3.0.0"
"""The version of the AsyncAPI specification."""
SCHEMAS = "#/components/schemas/{model}"

Schemas = Mapping[str, Any]
"""The JSON schema of each message's body, by the name of the message."""


def asyncapi_command(context: Context, config: QueueConfig) -> click.Command:
    """Return ``scalekit queue asyncapi``."""

    @click.command("asyncapi")
    @click.option("--title", default=context.name or "service", help="Title of the document; the service's name.")
    @click.option("--version", default="1.0.0", show_default=True, help="Version of the application.")
    def command(title: str, version: str) -> None:
        """Print the AsyncAPI 3 document of the application's consumers and published messages, as JSON."""
        document = describe_messages(config.load(), config, {"title": title, "version": version})
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())

    return command


def describe_messages(consumers: Consumers, config: QueueConfig, info: Mapping[str, str]) -> dict[str, Any]:
    """Return the AsyncAPI document of *consumers*; *info* has ``title`` and ``version`` of the application."""
    received = {each.name: each for each in consumers}
    sent = {each.name: each for each in consumers.published}
    # A message that this application both publishes and consumes has one channel, whose body is what is consumed.
    bodies = {name: each.body for name, each in sent.items()} | {name: each.body for name, each in received.items()}
    schemas, components = _schemas(bodies)
    return {
        "asyncapi": VERSION,
        "info": dict(info),
        "defaultContentType": "application/json",
        "servers": {"queue": _server(config)},
        "channels": {name: _channel(name, schemas[name], config.prefix) for name in sorted(bodies)},
        "operations": {
            **{f"receive:{name}": _receive(received[name]) for name in sorted(received)},
            **{f"send:{name}": _send(sent[name]) for name in sorted(sent)},
        },
        "components": {"schemas": components},
    }


def _schemas(bodies: Mapping[str, TypeAdapter[Any]]) -> tuple[Schemas, Schemas]:
    """Return the schema of each of *bodies*, and the definitions to which they refer, whose names do not collide."""
    inputs: Sequence[Any] = [(name, "validation", adapter) for name, adapter in bodies.items()]
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=SCHEMAS)
    return {name: schema for (name, _), schema in found.items()}, definitions.get("$defs", {})


def _server(config: QueueConfig) -> dict[str, str]:
    """Return the server without credentials; for a file and for the pool's database it is this machine."""
    parts = config.url.parts
    host = f"[{parts.host}]" if ":" in parts.host else parts.host or "localhost"
    protocol = config.system if config.uses_pool else parts.scheme
    return {"host": host if parts.port is None else f"{host}:{parts.port}", "protocol": protocol}


def _channel(name: str, schema: Any, prefix: str) -> dict[str, Any]:
    return {"address": f"{prefix}{name}", "messages": {name: {"name": name, "payload": schema}}}


def _receive(consumer: Consumer) -> dict[str, Any]:
    options = {
        "concurrency": consumer.concurrency,
        "retry": list(consumer.retry),
        "timeout": consumer.timeout,
        **({} if consumer.dedupe is None else {"dedupe": consumer.dedupe}),
        **({} if consumer.result_ttl is None else {"result_ttl": consumer.result_ttl}),
        **({} if consumer.rate is None else {"rate": str(consumer.rate)}),
    }
    return _operation("receive", consumer.name, inspect.getdoc(consumer.handler)) | {"x-scalekit": options}


def _send(message: PublishedMessage) -> dict[str, Any]:
    return _operation("send", message.name, message.description)


def _operation(action: str, name: str, description: str | None) -> dict[str, Any]:
    channel = f"#/channels/{name}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        **({"description": description} if description else {}),
        "messages": [{"$ref": f"{channel}/messages/{name}"}],
    }
