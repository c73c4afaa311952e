"""Give a message to its handler: decoded, on behalf of its publisher, once where it dedupes, within its time."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from scalekit import Context
from scalekit.contracts import Consumer, Message
from scalekit_queue.envelope import Envelope
from scalekit_queue.inbox import Inbox
from scalekit_queue.propagation import deadline_of, on_behalf


class UndecodableMessage(Exception):
    """A message whose body is not what its handler takes."""


class MessageDispatcher:
    """Handles the messages of *consumer*; *inbox* remembers them, where it dedupes."""

    def __init__(self, consumer: Consumer, inbox: Inbox | None, context: Context) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._context = context

    async def handle(self, envelope: Envelope) -> bool:
        """Let the handler have *envelope*; return False when it was consumed before.

        Raises Undecodable, TimeoutError, and what the handler raises.
        """
        message = self._message(envelope)
        with on_behalf(envelope.headers, self._context):
            async with asyncio.timeout(self._consumer.timeout):
                if self._inbox is None or not envelope.id:
                    await self._consumer.handler(message)
                    return True
                async with self._inbox.entered(envelope.id) as is_new:
                    if is_new:
                        await self._consumer.handler(message)
                    return is_new

    def _message(self, envelope: Envelope) -> Message[object]:
        try:
            body = self._consumer.body.validate_json(envelope.body)
        except ValidationError as error:
            raise UndecodableMessage(_told(error)) from None
        return Message(
            envelope.name,
            envelope.id,
            body,
            envelope.headers,
            envelope.attempt,
            envelope.published,
            deadline_of(envelope.headers),
            self._context,
        )


def _told(error: ValidationError) -> str:
    """Return what is wrong, without the values, which may be secrets."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    places = (f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}" for problem in problems[:10])
    return "; ".join(places)
