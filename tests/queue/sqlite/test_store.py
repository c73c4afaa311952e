"""The counts of the message store."""

from __future__ import annotations

from pathlib import Path

from scalekit_queue.envelope import Envelope
from scalekit_queue.sqlite.store import MessageStore
from scalekit_queue.transport import QueueDepth


def test_a_message_of_a_killed_process_counts_as_ready_once_its_visibility_timeout_has_expired(tmp_path: Path) -> None:
    store = MessageStore(str(tmp_path / "queue.db"), "normal")
    store.open()
    store.insert([Envelope("data.created", name, b"1", 5.0) for name in ("killed", "running")])
    store.receive("data.created", "one", 1, visibility_timeout=-1.0)
    store.receive("data.created", "two", 1, visibility_timeout=60.0)
    store.receive("data.created", "one", 1, visibility_timeout=-1.0)
    assert store.depth("data.created") == QueueDepth("data.created", 1, 0, 1, 0, 5.0)
    (ready,) = store.peek("data.created", False, 10)
    assert store.purge("data.created", False) == 1
    assert store.depth("data.created") == QueueDepth("data.created", 0, 0, 1, 0)
    assert ready.body == b"1"
    store.close()
