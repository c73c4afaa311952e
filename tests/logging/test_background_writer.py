from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from scalekit_logging import background_writer as writer_module
from scalekit_logging.access_log import AccessLogFormatter, AccessRecord
from scalekit_logging.background_writer import BUFFER_FULL, RECORDS_PER_BATCH, BackgroundWriter
from scalekit_logging.rotating_file import RotatingFile
from scalekit_logging.sinks import BUFFER, Loss, MonitoredSink
from tests.logging.log_capture import RecordingCounter, parse, read
from tests.logging.writer_harness import BUFFER_SIZE, FORMATTER, line, losses, numbers, running_writer
from tests.processes import wait_for


@pytest.fixture
def file(tmp_path: Path) -> RotatingFile:
    return RotatingFile(str(tmp_path), "combined.log", 1 << 30, 2)


def test_lines_of_many_threads_are_all_written_in_the_order_of_each_thread(file: RotatingFile, tmp_path: Path) -> None:
    with running_writer(file) as (writer, counter):

        def log(thread: int) -> None:
            for number in range(500):
                writer.add(line(thread * 1000 + number))

        threads = [threading.Thread(target=log, args=[each]) for each in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    found = numbers(read(tmp_path / "combined.log"))
    for thread in range(8):
        assert [each for each in found if each // 1000 == thread] == list(range(thread * 1000, thread * 1000 + 500))
    assert len(found) == 4000
    assert counter.lines == {"info": 4000}
    assert counter.losses == {}


def test_a_line_is_written_before_the_writer_stops(file: RotatingFile, tmp_path: Path) -> None:
    with running_writer(file) as (writer, _):
        for number in range(3):
            writer.add(line(number))
            wait_for("the line", lambda number=number: number in numbers(read(tmp_path / "combined.log")))  # type: ignore[misc]  # the default binds the loop variable


def test_a_sink_for_errors_receives_only_errors(file: RotatingFile, tmp_path: Path) -> None:
    with running_writer(file, errors_only=True) as (writer, counter):
        for number, level in enumerate((10, 20, 30, 40, 50)):
            writer.add(line(number, level))
    assert numbers(read(tmp_path / "combined.log")) == [3, 4]
    assert counter.lines == {"debug": 1, "info": 1, "warning": 1, "error": 1, "critical": 1}


class BlockingSink:
    """A sink whose writes block until the test releases them."""

    name = "blocking"

    def __init__(self) -> None:
        self.released = threading.Event()
        self.written: list[bytes] = []
        self.pending_calls = 0
        self.closed = False

    def open(self) -> None:
        pass

    def write(self, text: bytes) -> Loss | None:
        self.released.wait()
        if text:
            self.written.append(text)
        return None

    def pending(self) -> int:
        self.pending_calls += 1
        return 0

    def close(self) -> None:
        self.closed = True


class InstantSink(BlockingSink):
    """A sink that never blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.released.set()


def test_an_access_record_is_written_without_further_lines() -> None:
    sink = InstantSink()
    with running_writer(sink) as (writer, counter):
        wait_for("the thread", lambda: sink.pending_calls)
        writer.add_access((0.5, "abc", "def", "GET", "/", "/", 500, 0.1, 7, "127.0.0.1", b"", [], ""))
        wait_for("the line", lambda: counter.lines == {"error": 1})
    assert [each["status"] for each in parse(b"".join(sink.written))] == [500]


def test_a_line_added_as_the_thread_becomes_idle_is_written() -> None:
    sink = InstantSink()

    def format_entries(entries: list[bytes | AccessRecord]) -> list[bytes]:
        if not entries and not sink.closed and len(sink.written) == 1:
            writer.add(line(2))
        return AccessLogFormatter(FORMATTER).format(entries)

    writer = BackgroundWriter([MonitoredSink(sink, FORMATTER)], BUFFER_SIZE, format_entries, RecordingCounter())
    writer.start()
    wait_for("the thread", lambda: sink.pending_calls)
    writer.add(line(1))
    wait_for("both lines", lambda: numbers(parse(b"".join(sink.written))) == [1, 2])
    writer.stop(1.0)


def test_access_records_and_lines_stay_in_order_and_the_request_thread_formats_records() -> None:
    sink, formatted_by = InstantSink(), set()

    def format_entries(entries: list[bytes | AccessRecord]) -> list[bytes]:
        if any(not isinstance(entry, bytes) for entry in entries):
            formatted_by.add(threading.current_thread().name)
        return AccessLogFormatter(FORMATTER).format(entries)

    counter = RecordingCounter()
    errors = InstantSink()
    writer = BackgroundWriter(
        [MonitoredSink(sink, FORMATTER), MonitoredSink(errors, FORMATTER, errors_only=True)],
        1 << 20,
        format_entries,
        counter,
    )
    writer.start()
    count = 10 * RECORDS_PER_BATCH
    for number in range(count):
        status = 500 if number % 100 == 99 else 200
        writer.add(line(number))
        writer.add_access((0.5, "abc", "def", "GET", f"/{number}", "/", status, 0.1, 7, "127.0.0.1", b"", [], ""))
    wait_for("all lines", lambda: len(parse(b"".join(sink.written))) == 2 * count)
    writer.stop(1.0)
    written = parse(b"".join(sink.written))
    assert [each.get("number", each.get("path")) for each in written] == [
        each for number in range(count) for each in (number, f"/{number}")
    ]
    assert threading.current_thread().name in formatted_by
    assert [each["path"] for each in parse(b"".join(errors.written))] == [f"/{n}" for n in range(99, count, 100)]
    assert counter.lines == {"info": 2 * count - count // 100, "error": count // 100}


def test_a_half_full_buffer_is_flushed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "WRITE_INTERVAL", 300)
    sink, added = InstantSink(), itertools.count()
    half = BUFFER_SIZE // 2 + 2000  # one line beyond half the buffer requests a flush
    with running_writer(sink, max_bytes=BUFFER_SIZE) as (writer, counter):

        def add(lines: int) -> None:
            for number in itertools.islice(added, lines):
                writer.add(line(number, length=1000))
            wait_for("these lines", lambda: buffered() < half)

        def buffered() -> int:
            return writer._added - writer._taken

        for _ in range(60):
            add(40)  # the thread is idle; less than the buffer holds
            while buffered() > 12_000:
                add(20)
        monkeypatch.setattr(writer_module, "WRITE_INTERVAL", 0)
    assert numbers(parse(b"".join(sink.written))) == list(range(next(added)))
    assert counter.losses == {}


def test_an_idle_writer_stops() -> None:
    sink = InstantSink()
    with running_writer(sink):
        wait_for("the thread", lambda: sink.pending_calls)
    assert sink.closed


def test_a_full_buffer_loses_lines_and_reports_them_after_recovery() -> None:
    sink = BlockingSink()
    with running_writer(sink, max_bytes=BUFFER_SIZE) as (writer, counter):
        for number in range(2000):
            writer.add(line(number))
        assert not writer.error()
        sink.released.set()
        wait_for("the loss", lambda: counter.losses)
        wait_for("recovery", lambda: not writer.error() and losses(parse(b"".join(sink.written))))
    written = parse(b"".join(sink.written))
    count = sum(each for each, _ in losses(written))
    assert {reason for _, reason in losses(written)} == {BUFFER_FULL}
    assert counter.losses == {("buffer", BUFFER_FULL): count}
    assert count + len(numbers(written)) == 2000
    assert numbers(written) == sorted(numbers(written))


def test_stop_returns_while_a_write_blocks() -> None:
    sink = BlockingSink()
    with running_writer(sink) as (writer, _):
        writer.add(line(1))
        writer.stop(0.1)  # the write still blocks
        assert not sink.written
        sink.released.set()


def test_a_signal_handler_may_log_at_any_point_without_deadlock_or_uncounted_loss() -> None:
    emitted = itertools.count()
    sink = BlockingSink()
    with running_writer(sink, max_bytes=BUFFER_SIZE) as (writer, counter):

        def handle(_: FrameType, event: str, __: object) -> Any:
            if event == "line":
                writer.add(line(next(emitted)))
            return handle

        def trace(frame: FrameType, _: str, __: object) -> Any:
            return handle if frame.f_code.co_filename in (writer_module.__file__, threading.__file__) else None

        def log() -> None:
            sys.settrace(trace)
            for _ in range(1000):
                writer.add(line(next(emitted)))
            sys.settrace(None)

        thread = threading.Thread(target=log, daemon=True)
        thread.start()
        wait_for("the end of logging", lambda: not thread.is_alive())
        sink.released.set()
        wait_for("recovery", lambda: counter.losses and not writer.error())
    assert counter.losses[BUFFER, BUFFER_FULL] + len(numbers(parse(b"".join(sink.written)))) == next(emitted)


class FailingSink(BlockingSink):
    attempts = 0

    def write(self, text: bytes) -> Loss | None:
        self.attempts += 1
        if self.released.is_set():
            return super().write(text)
        raise LookupError("a bug")


def test_an_exception_in_a_sink_loses_its_lines_but_the_thread_survives(file: RotatingFile, tmp_path: Path) -> None:
    sink = FailingSink()
    with running_writer(sink, file) as (writer, counter):
        writer.add(line(1))
        wait_for("the loss", lambda: counter.losses == {("blocking", "LookupError"): 1})
        assert writer.error() == "blocking: LookupError"
        sink.released.set()
        writer.add(line(2))
        wait_for("recovery", lambda: not writer.error())
    assert numbers(parse(b"".join(sink.written))) == [2]
    assert numbers(read(tmp_path / "combined.log")) == [1, 2]


def test_a_failed_sink_is_retried_without_new_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_INTERVAL", 0.01)
    sink = FailingSink()
    with running_writer(sink) as (writer, counter):
        writer.add(line(1))
        wait_for("another attempt", lambda: counter.losses and sink.attempts > 4)
        sink.released.set()
        wait_for("recovery", lambda: not writer.error())
    assert losses(parse(b"".join(sink.written))) == [(1, "LookupError")]
