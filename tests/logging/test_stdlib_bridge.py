"""PipelineHandler works with everything that logging does with handlers."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalekit_logging.config import LoggingConfig
from scalekit_logging.pipeline import LogPipeline
from scalekit_logging.stdlib_bridge import PipelineHandler
from tests.logging.log_capture import RecordingCounter, read


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[PipelineHandler]:
    pipeline = LogPipeline(LoggingConfig(console="off", directory=str(tmp_path)), str)
    pipeline.start(RecordingCounter())
    yield PipelineHandler(pipeline)
    pipeline.stop()


def events(handler: PipelineHandler) -> list[object]:
    handler.pipeline.stop()
    return [line["event"] for line in read(Path(str(handler.pipeline.config.directory), "combined.log"))]


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "name": "shop", "msg": text})


def test_filters_may_reject_records(handler: PipelineHandler) -> None:
    handler.addFilter(lambda each: "secret" not in str(each.msg))
    assert handler.handle(record("sold"))
    assert not handler.handle(record("a secret"))
    assert events(handler) == ["sold"]


def test_the_handler_can_be_locked_flushed_and_shut_down(handler: PipelineHandler) -> None:
    handler.acquire()
    handler.release()
    handler.handle(record("sold"))
    logging.shutdown([weakref.ref(handler)])
    assert events(handler) == ["sold"]


def test_the_handler_works_behind_a_queue_and_a_buffer(handler: PipelineHandler) -> None:
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(lines, handler)
    listener.start()
    lines.put(record("through a queue"))
    listener.stop()
    buffer = logging.handlers.MemoryHandler(10, target=handler)
    buffer.handle(record("through a buffer"))
    buffer.close()
    assert events(handler) == ["through a queue", "through a buffer"]


def test_a_thread_that_holds_the_lock_does_not_block_other_threads(handler: PipelineHandler) -> None:
    handler.acquire()
    other = threading.Thread(target=handler.handle, args=(record("sold"),), daemon=True)
    other.start()
    other.join(60)
    handler.release()
    assert not other.is_alive()
    assert events(handler) == ["sold"]
