"""The message store's delivery limit."""

from __future__ import annotations

from pathlib import Path

from scalekit_queue.envelope import REASON, Envelope
from scalekit_queue.sqlite.store import MAX_DELIVERIES, MessageStore


def test_a_message_that_crashes_its_consumers_becomes_a_dead_letter(tmp_path: Path) -> None:
    store = MessageStore(str(tmp_path / "queue.db"), "normal")
    store.open()
    store.insert([Envelope("data.created", "poison", b"1", 0.0), Envelope("data.created", "good", b"2", 0.0, delay=60)])
    for _ in range(MAX_DELIVERIES):
        ((_, envelope),) = store.receive("data.created", "one", 10, visibility_timeout=-1.0)  # its consumer crashes
        assert envelope.id == "poison"
    assert store.receive("data.created", "one", 10, visibility_timeout=-1.0) == []
    (letter,) = store.peek("data.created", True, 10)
    assert letter.headers[REASON] == "delivered 20 times without being settled"
    store.close()
