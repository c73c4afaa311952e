"""The supervisor's message hub: publish, history and delivery for all workers.

A worker that does not read is skipped once MAX_BACKLOG bytes wait for it: it delays neither the supervisor nor other
workers. When it reads again it is told so, and completes its channels from their history.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from scalekit.message_hub import HubLimits, HubMessage, Member, MessageHub
from scalekit.runner.workers.hub_frames import HubFrame, decode_frame, encode_frame, encode_history

logger = logging.getLogger("scalekit")

MAX_BACKLOG = 4 * 2**20
"""Bytes that wait for one worker, above which it is skipped."""


class HubWorker(Protocol):
    """A worker as the hub uses it."""

    @property
    def backlog(self) -> int:
        """Bytes that wait for the worker to read them."""
        ...

    def send_hub_frame(self, frame: bytes) -> None:
        """Send a frame without waiting."""
        ...


class HubServer:
    """Handles the frames of workers."""

    def __init__(self) -> None:
        self.hub = MessageHub()
        self._members: dict[HubWorker, _WorkerMember] = {}
        self._last_frame: tuple[HubMessage | None, bytes] = (None, b"")
        self._handlers: dict[str, Callable[[_WorkerMember, HubFrame], None]] = {
            "configure": self._configure,
            "publish": self._publish,
            "join": self._join,
            "history": self._history,
            "leave": self._leave,
        }

    def receive(self, worker: HubWorker, content: bytes) -> None:
        """Handle a frame of *worker*; log one that is invalid."""
        member = self._members.get(worker)
        if member is None:
            member = self._members[worker] = _WorkerMember(worker, self._encode)
        try:
            frame = decode_frame(content)
            self._handlers[frame.name](member, frame)
        except (ValueError, TypeError, LookupError):
            logger.exception("invalid hub frame %r", content[:100])

    def resume(self, worker: HubWorker) -> None:
        """Tell *worker* that it was skipped, if it reads again; called for every message from it."""
        member = self._members.get(worker)
        if member is not None and member.skipped and not worker.backlog:
            member.skipped = False
            worker.send_hub_frame(encode_frame("interrupted"))

    def remove(self, worker: HubWorker) -> None:
        """Remove a worker that has ended from all channels."""
        member = self._members.pop(worker, None)
        if member is not None:
            self.hub.leave_all(member.deliver)

    def _encode(self, channel: str, message: HubMessage) -> bytes:
        """Return the frame of *message*, which is encoded once for all workers."""
        if self._last_frame[0] is not message:
            self._last_frame = (message, encode_frame("message", channel, message.id, body=message.body))
        return self._last_frame[1]

    def _configure(self, member: _WorkerMember, frame: HubFrame) -> None:
        request_id, *limits = frame.arguments
        self.hub.limits = HubLimits(*limits)
        _reply(member, request_id, None)

    def _publish(self, member: _WorkerMember, frame: HubFrame) -> None:
        request_id, channel = frame.arguments
        _reply(member, request_id, self.hub.publish(channel, frame.body))

    def _join(self, member: _WorkerMember, frame: HubFrame) -> None:
        request_id, channel = frame.arguments
        self.hub.join(channel, member.deliver)
        _reply(member, request_id, None)

    def _history(self, member: _WorkerMember, frame: HubFrame) -> None:
        request_id, channel = frame.arguments
        member.worker.send_hub_frame(encode_history(request_id, self.hub.history(channel)))

    def _leave(self, member: _WorkerMember, frame: HubFrame) -> None:
        (channel,) = frame.arguments
        self.hub.leave(channel, member.deliver)


class _WorkerMember:
    """Delivers messages to one worker, unless too much waits for it."""

    def __init__(self, worker: HubWorker, encode: Callable[[str, HubMessage], bytes]) -> None:
        self.worker = worker
        self.skipped = False
        self._encode = encode
        self.deliver: Member = self._deliver

    def _deliver(self, channel: str, message: HubMessage) -> None:
        if self.skipped or self.worker.backlog > MAX_BACKLOG:
            self.skipped = True
        else:
            self.worker.send_hub_frame(self._encode(channel, message))


def _reply(member: _WorkerMember, request_id: int, result: Any) -> None:
    member.worker.send_hub_frame(encode_frame("reply", request_id, result))
