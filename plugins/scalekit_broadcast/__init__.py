"""Broadcasts to all subscribers of a channel, over the workers of a service or over Redis."""

from scalekit_broadcast.event_stream import server_sent_events
from scalekit_broadcast.websocket_stream import send_messages

__all__ = ["send_messages", "server_sent_events"]
