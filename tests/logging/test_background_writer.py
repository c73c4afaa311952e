from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from scalekit_logging import background_writer as writer_module
from scalekit_logging.access_log import AccessLogFormatter, AccessRecord
from scalekit_logging.background_writer import BUFFER_FULL, PROCESS_STOPPED, RECORDS_PER_BATCH, BackgroundWriter
from scalekit_logging.console_formatter import format_json
from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.levels import INFO
from scalekit_logging.redaction import Redactor
from scalekit_logging.rotating_file import RotatingFile
from scalekit_logging.sinks import BUFFER, Loss, MonitoredSink, Sink
from scalekit_logging.stream_sink import BLOCKED, StreamSink
from tests.logging import stderr_emitter
from tests.logging.log_capture import Line, RecordingCounter, parse, read
from tests.processes import SPAWNER, wait_for

EMITTER = Path(stderr_emitter.__file__)
LINES = JsonFormatter({}, Redactor())
PIPE = 65_536


def line(number: int, level: int = INFO, length: int = 0) -> bytes:
    return LINES.format(level, "test", "event", {"number": number, "more": "x" * length}, None)


@contextmanager
def running_writer(
    *sinks: Sink, max_bytes: int = 1 << 20, errors_only: bool = False
) -> Iterator[tuple[BackgroundWriter, RecordingCounter]]:
    counter = RecordingCounter()
    monitored = [MonitoredSink(sink, LINES, errors_only) for sink in sinks]
    writer = BackgroundWriter(monitored, max_bytes, AccessLogFormatter(LINES).format, counter)
    writer.start()
    try:
        yield writer, counter
    finally:
        writer.stop(1.0)


def numbers(lines: list[Line]) -> list[int]:
    return [each["number"] for each in lines if each["event"] == "event"]


def losses(lines: list[Line]) -> list[tuple[int, str]]:
    return [(each["lost_lines"], each["reason"]) for each in lines if "lost_lines" in each]


@pytest.fixture
def file(tmp_path: Path) -> RotatingFile:
    return RotatingFile(str(tmp_path), "combined.log", 1 << 30, 2)


class Pipe:
    """A pipe that the test reads."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.content = b""

    def stream(self, max_pending: int = 1 << 20) -> StreamSink:
        return StreamSink("console", self.writer, format_json, max_pending)

    def read_available(self) -> bytes:
        try:
            while chunk := os.read(self.reader, 1 << 20):
                self.content += chunk
        except BlockingIOError:
            pass
        return self.content


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for descriptor in (pipe.reader, pipe.writer):
        try:
            os.close(descriptor)
        except OSError:
            pass  # the test closed it


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
            wait_for("the line", lambda number=number: number in numbers(read(tmp_path / "combined.log")))  # type: ignore[misc]


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
        writer.add_access((0.5, "abc", "def", "GET", "/", "/", 500, 0.1, 7, "127.0.0.1", b"", []))
        wait_for("the line", lambda: counter.lines == {"error": 1})
    assert [each["status"] for each in parse(b"".join(sink.written))] == [500]


def test_a_line_added_as_the_thread_becomes_idle_is_written() -> None:
    sink = InstantSink()

    def format_entries(entries: list[bytes | AccessRecord]) -> list[bytes]:
        if not entries and not sink.closed and len(sink.written) == 1:
            writer.add(line(2))
        return AccessLogFormatter(LINES).format(entries)

    writer = BackgroundWriter([MonitoredSink(sink, LINES)], PIPE, format_entries, RecordingCounter())
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
        return AccessLogFormatter(LINES).format(entries)

    counter = RecordingCounter()
    errors = InstantSink()
    writer = BackgroundWriter(
        [MonitoredSink(sink, LINES), MonitoredSink(errors, LINES, errors_only=True)], 1 << 20, format_entries, counter
    )
    writer.start()
    count = 10 * RECORDS_PER_BATCH
    for number in range(count):
        status = 500 if number % 100 == 99 else 200
        writer.add(line(number))
        writer.add_access((0.5, "abc", "def", "GET", f"/{number}", "/", status, 0.1, 7, "127.0.0.1", b"", []))
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
    half = PIPE // 2 + 2000  # one line beyond half the buffer requests a flush
    with running_writer(sink, max_bytes=PIPE) as (writer, counter):

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
    with running_writer(sink, max_bytes=PIPE) as (writer, counter):
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
    with running_writer(sink, max_bytes=PIPE) as (writer, counter):

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


def test_a_stalled_pipe_reader_loses_lines_but_does_not_block_files(
    pipe: Pipe, file: RotatingFile, tmp_path: Path
) -> None:
    with running_writer(pipe.stream(max_pending=PIPE), file) as (writer, counter):
        for number in range(3000):
            writer.add(line(number))
        wait_for("the file", lambda: len(numbers(read(tmp_path / "combined.log"))) == 3000)
        wait_for("the loss", lambda: counter.losses)
        assert writer.error() == f"console: {BLOCKED}"
        wait_for("recovery", lambda: pipe.read_available() and not writer.error())
        writer.add(line(3000))
        wait_for("the rest", lambda: 3000 in numbers(parse(pipe.read_available())))
    found = parse(pipe.read_available())
    ((count, reason),) = losses(found)
    assert reason == BLOCKED
    assert counter.losses == {("console", BLOCKED): count}
    written = numbers(found)  # which lines are lost depends on when the thread runs
    assert written == sorted(set(written))
    assert (written[0], written[-1], len(written)) == (0, 3000, 3001 - count)


def test_pending_lines_count_as_lost_when_the_writer_stops(pipe: Pipe) -> None:
    with running_writer(pipe.stream()) as (writer, counter):
        for number in range(3000):
            writer.add(line(number))
        began = time.monotonic()
        writer.stop(0.2)
        assert time.monotonic() - began < 60  # it does not wait for the reader
    found = len(pipe.read_available().split(b"\n")) - 1
    assert 0 < found < 3000
    assert counter.losses == {("console", PROCESS_STOPPED): 3000 - found}


def test_a_closed_pipe_loses_lines_but_files_are_written(pipe: Pipe, file: RotatingFile, tmp_path: Path) -> None:
    os.close(pipe.reader)
    with running_writer(pipe.stream(), file) as (writer, counter):
        for number in range(10):
            writer.add(line(number))
        wait_for("the loss", lambda: counter.losses == {("console", "broken pipe"): 10})
        assert writer.error() == "console: broken pipe"
    assert len(numbers(read(tmp_path / "combined.log"))) == 10


def test_a_stream_that_is_full_or_closed_loses_lines() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with running_writer(
        StreamSink("console", full, format_json, PIPE), StreamSink("closed", 9999, format_json, PIPE)
    ) as (
        writer,
        counter,
    ):
        writer.add(line(1))
        writer.add(line(2))
        wait_for("the losses", lambda: len(counter.losses) == 2)
    os.close(full)
    assert counter.losses == {("console", "no space left on device"): 2, ("closed", "bad file descriptor"): 2}


def test_a_failed_sink_is_retried_without_new_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_INTERVAL", 0.01)
    sink = FailingSink()
    with running_writer(sink) as (writer, counter):
        writer.add(line(1))
        wait_for("another attempt", lambda: counter.losses and sink.attempts > 4)
        sink.released.set()
        wait_for("recovery", lambda: not writer.error())
    assert losses(parse(b"".join(sink.written))) == [(1, "LookupError")]


def test_a_partially_written_line_holds_the_lock_until_it_is_complete(pipe: Pipe) -> None:
    probe = "import fcntl, sys; fcntl.lockf(2, fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def lock_is_free() -> bool:
        command = [sys.executable, "-c", probe]
        process = SPAWNER.submit(subprocess.run, command, stderr=pipe.writer, stdout=subprocess.DEVNULL).result()
        return process.returncode == 0

    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4096)
    stream = pipe.stream()
    stream.open()
    stream.write(b"x" * 6000 + b"\n")
    pipe.read_available()  # the pipe has room for another process, but the line is incomplete
    assert not lock_is_free()
    pipe.read_available()
    stream.write(b"")
    assert stream.pending() == 0
    pipe.read_available()
    assert lock_is_free()


@pytest.mark.parametrize("blocking", [True, False])
def test_processes_share_a_pipe_and_no_line_is_torn_or_lost(pipe: Pipe, blocking: bool) -> None:
    os.set_blocking(pipe.writer, blocking)
    environment = {**os.environ, "PYTHONPATH": str(EMITTER.parent.parent.parent)}
    processes = [
        SPAWNER.submit(
            subprocess.Popen, [sys.executable, str(EMITTER), name, "500"], stderr=pipe.writer, env=environment
        ).result()
        for name in "abcd"
    ]
    wait_for(
        "the writers", lambda: (pipe.read_available() or True) and all(each.poll() is not None for each in processes)
    )
    lines = parse(pipe.read_available())
    assert [each.returncode for each in processes] == [0] * 4
    assert sorted((each["writer"], each["number"]) for each in lines) == [
        (name, number) for name in "abcd" for number in range(500)
    ]
