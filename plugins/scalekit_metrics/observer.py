"""Record each request when it has ended, and count open websockets."""

from __future__ import annotations

from asyncio import CancelledError

from scalekit.exchange import Exchange, Observer, Socket
from scalekit.identity import identity_of
from scalekit_metrics.recorder import LEFT, Recorder

WITHOUT_BODY = frozenset({"GET", "HEAD"})


class MetricsObserver(Observer):
    """Records into *recorder* what every request pays for: hence few steps."""

    def __init__(self, recorder: Recorder, exemplars: bool) -> None:
        self.recorder = recorder
        self.exemplars = exemplars

    def begin(self, exchange: Exchange) -> None:
        """Count it as in flight."""
        self.recorder.in_flight.value += 1

    def end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Count and time it."""
        recorder = self.recorder
        recorder.in_flight.value -= 1
        method, status = exchange.scope["method"], exchange.status
        if error is not None:
            if isinstance(error, Exception):
                recorder.count_exception(method, exchange.route, error)
            elif isinstance(error, CancelledError):
                status = status or LEFT
        outcome = recorder.outcome(method, exchange.route, status)
        outcome.sent.value += exchange.sent
        if exchange.received and method not in WITHOUT_BODY:
            outcome.received.value += exchange.received
        if self.exemplars and exchange.is_traced():
            outcome.observe_traced(exchange.seconds, identity_of(exchange.scope))
        else:
            outcome.duration.observe(exchange.seconds)

    def open(self, socket: Socket) -> None:
        """Count it as open."""
        self.recorder.websockets.inc()

    def close(self, socket: Socket, error: BaseException | None) -> None:
        """Count it no longer, and count its exception."""
        self.recorder.websockets.dec()
        if isinstance(error, Exception):
            self.recorder.count_exception("GET", socket.route, error)
