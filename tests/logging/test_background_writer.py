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
from scalekit_logging.background_writer import FULL, SHAPED_TOGETHER, STOPPED, BackgroundWriter
from scalekit_logging.console_formatter import format_json
from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.levels import INFO
from scalekit_logging.redaction import Redactor
from scalekit_logging.rotating_file import RotatingFile
from scalekit_logging.sinks import BUFFER, Loss, MonitoredSink, Sink
from scalekit_logging.stream_sink import BLOCKED, StreamSink
from tests.logging import stderr_emitter as shouting
from tests.logging.log_capture import Line, RecordingCounter, parse, read
from tests.processes import SPAWNER, wait_for

SHOUTING = Path(shouting.__file__)
LINES = JsonFormatter({}, Redactor())
PIPE = 65_536


def line(number: int, level: int = INFO, length: int = 0) -> bytes:
    return LINES.line(level, "test", "said", {"number": number, "more": "x" * length}, None)


@contextmanager
def writing(
    *sinks: Sink, limit: int = 1 << 20, errors_only: bool = False
) -> Iterator[tuple[BackgroundWriter, RecordingCounter]]:
    tally = RecordingCounter()
    outlets = [MonitoredSink(sink, LINES, errors_only) for sink in sinks]
    writer = BackgroundWriter(outlets, limit, AccessLogFormatter(LINES).shaped, tally)
    writer.start()
    try:
        yield writer, tally
    finally:
        writer.stop(1.0)


def numbers(lines: list[Line]) -> list[int]:
    return [each["number"] for each in lines if each["event"] == "said"]


def losses(lines: list[Line]) -> list[tuple[int, str]]:
    return [(each["lost_lines"], each["reason"]) for each in lines if "lost_lines" in each]


@pytest.fixture
def file(tmp_path: Path) -> RotatingFile:
    return RotatingFile(str(tmp_path), "combined.log", 1 << 30, 2)


class Pipe:
    """A pipe, of which the test is the reader."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.read = b""

    def stream(self, limit: int = 1 << 20) -> StreamSink:
        return StreamSink("console", self.writer, format_json, limit)

    def take(self) -> bytes:
        try:
            while piece := os.read(self.reader, 1 << 20):
                self.read += piece
        except BlockingIOError:
            pass
        return self.read


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for descriptor in (pipe.reader, pipe.writer):
        try:
            os.close(descriptor)
        except OSError:
            pass  # the test closed it


def test_lines_of_many_threads_are_all_written_each_thread_s_in_order(file: RotatingFile, tmp_path: Path) -> None:
    with writing(file) as (writer, tally):

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
    assert tally.lines == {"info": 4000}
    assert tally.losses == {}


def test_a_line_is_written_soon_and_not_only_at_the_end(file: RotatingFile, tmp_path: Path) -> None:
    with writing(file) as (writer, _):
        for number in range(3):
            writer.add(line(number))
            wait_for("the line", lambda number=number: number in numbers(read(tmp_path / "combined.log")))  # type: ignore[misc]


def test_an_outlet_for_errors_gets_nothing_else(file: RotatingFile, tmp_path: Path) -> None:
    with writing(file, errors_only=True) as (writer, tally):
        for number, level in enumerate((10, 20, 30, 40, 50)):
            writer.add(line(number, level))
    assert numbers(read(tmp_path / "combined.log")) == [3, 4]
    assert tally.lines == {"debug": 1, "info": 1, "warning": 1, "error": 1, "critical": 1}


class Hanging:
    """A sink whose writes take as long as the test likes."""

    name = "hanging"

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.written: list[bytes] = []
        self.looks = 0
        self.closed = False

    def open(self) -> None:
        pass

    def write(self, text: bytes) -> Loss | None:
        self.go_on.wait()
        if text:
            self.written.append(text)
        return None

    def waiting(self) -> int:
        self.looks += 1
        return 0

    def close(self) -> None:
        self.closed = True


class Prompt(Hanging):
    """A sink that writes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on.set()


def test_the_line_of_a_request_is_written_soon() -> None:
    sink = Prompt()
    with writing(sink) as (writer, tally):
        wait_for("the thread", lambda: sink.looks)
        writer.add_access((0.5, "abc", "def", "GET", "/", "/", 500, 0.1, 7, "127.0.0.1", b"", []))
        wait_for("the line", lambda: tally.lines == {"error": 1})
    assert [each["status"] for each in parse(b"".join(sink.written))] == [500]


def test_a_line_that_comes_as_the_thread_becomes_idle_is_written_soon() -> None:
    sink = Prompt()

    def shape(entries: list[bytes | AccessRecord]) -> list[bytes]:
        if not entries and not sink.closed and len(sink.written) == 1:
            writer.add(line(2))
        return AccessLogFormatter(LINES).shaped(entries)

    writer = BackgroundWriter([MonitoredSink(sink, LINES)], PIPE, shape, RecordingCounter())
    writer.start()
    wait_for("the thread", lambda: sink.looks)
    writer.add(line(1))
    wait_for("both lines", lambda: numbers(parse(b"".join(sink.written))) == [1, 2])
    writer.stop(1.0)


def test_lines_of_many_requests_come_in_order_among_others_and_are_formatted_where_they_end() -> None:
    sink, formatted_by = Prompt(), set()

    def shape(entries: list[bytes | AccessRecord]) -> list[bytes]:
        if any(not isinstance(entry, bytes) for entry in entries):
            formatted_by.add(threading.current_thread().name)
        return AccessLogFormatter(LINES).shaped(entries)

    tally = RecordingCounter()
    errors = Prompt()
    writer = BackgroundWriter(
        [MonitoredSink(sink, LINES), MonitoredSink(errors, LINES, errors_only=True)], 1 << 20, shape, tally
    )
    writer.start()
    count = 10 * SHAPED_TOGETHER
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
    assert tally.lines == {"info": 2 * count - count // 100, "error": count // 100}


def test_a_buffer_that_is_half_full_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "EVERY", 300)
    sink, added = Prompt(), itertools.count()
    half = PIPE // 2 + 2000  # a line more than half begins to press
    with writing(sink, limit=PIPE) as (writer, tally):

        def add(lines: int) -> None:
            for number in itertools.islice(added, lines):
                writer.add(line(number, length=1000))
            wait_for("these lines", lambda: waiting() < half)

        def waiting() -> int:
            return writer._added - writer._taken

        for _ in range(60):
            add(40)  # from an idle thread on; all in all less than fits
            while waiting() > 12_000:
                add(20)
        monkeypatch.setattr(writer_module, "EVERY", 0)
    assert numbers(parse(b"".join(sink.written))) == list(range(next(added)))
    assert tally.losses == {}


def test_an_idle_writer_ends_when_told() -> None:
    sink = Prompt()
    with writing(sink):
        wait_for("the thread", lambda: sink.looks)
    assert sink.closed


def test_a_full_buffer_loses_lines_and_says_so_when_there_is_room_again() -> None:
    sink = Hanging()
    with writing(sink, limit=PIPE) as (writer, tally):
        for number in range(2000):
            writer.add(line(number))
        assert not writer.error()
        sink.go_on.set()
        wait_for("the loss", lambda: tally.losses)
        wait_for("recovery", lambda: not writer.error() and losses(parse(b"".join(sink.written))))
    written = parse(b"".join(sink.written))
    count = sum(each for each, _ in losses(written))
    assert {reason for _, reason in losses(written)} == {FULL}
    assert tally.losses == {("buffer", FULL): count}
    assert count + len(numbers(written)) == 2000
    assert numbers(written) == sorted(numbers(written))


def test_a_writer_that_hangs_does_not_keep_the_process() -> None:
    sink = Hanging()
    with writing(sink) as (writer, _):
        writer.add(line(1))
        writer.stop(0.1)  # returns, although the write does not
        assert not sink.written
        sink.go_on.set()


def test_a_signal_handler_that_logs_at_any_step_of_logging_neither_blocks_nor_goes_uncounted() -> None:
    said = itertools.count()
    sink = Hanging()
    with writing(sink, limit=PIPE) as (writer, tally):

        def handle(_: FrameType, event: str, __: object) -> Any:
            if event == "line":
                writer.add(line(next(said)))
            return handle

        def trace(frame: FrameType, _: str, __: object) -> Any:
            return handle if frame.f_code.co_filename in (writer_module.__file__, threading.__file__) else None

        def log() -> None:
            sys.settrace(trace)
            for _ in range(1000):
                writer.add(line(next(said)))
            sys.settrace(None)

        thread = threading.Thread(target=log, daemon=True)
        thread.start()
        wait_for("the end of logging", lambda: not thread.is_alive())
        sink.go_on.set()
        wait_for("recovery", lambda: tally.losses and not writer.error())
    assert tally.losses[BUFFER, FULL] + len(numbers(parse(b"".join(sink.written)))) == next(said)


class Raising(Hanging):
    tries = 0

    def write(self, text: bytes) -> Loss | None:
        self.tries += 1
        if self.go_on.is_set():
            return super().write(text)
        raise LookupError("a mistake")


def test_a_mistake_in_a_sink_costs_its_lines_and_not_the_thread(file: RotatingFile, tmp_path: Path) -> None:
    sink = Raising()
    with writing(sink, file) as (writer, tally):
        writer.add(line(1))
        wait_for("the loss", lambda: tally.losses == {("hanging", "LookupError"): 1})
        assert writer.error() == "hanging: LookupError"
        sink.go_on.set()
        writer.add(line(2))
        wait_for("recovery", lambda: not writer.error())
    assert numbers(parse(b"".join(sink.written))) == [2]
    assert numbers(read(tmp_path / "combined.log")) == [1, 2]


def test_a_pipe_that_nobody_reads_loses_lines_but_holds_up_no_file(
    pipe: Pipe, file: RotatingFile, tmp_path: Path
) -> None:
    with writing(pipe.stream(limit=PIPE), file) as (writer, tally):
        for number in range(3000):
            writer.add(line(number))
        wait_for("the file", lambda: len(numbers(read(tmp_path / "combined.log"))) == 3000)
        wait_for("the loss", lambda: tally.losses)
        assert writer.error() == f"console: {BLOCKED}"
        wait_for("recovery", lambda: pipe.take() and not writer.error())
        writer.add(line(3000))
        wait_for("the rest", lambda: 3000 in numbers(parse(pipe.take())))
    found = parse(pipe.take())
    ((count, reason),) = losses(found)
    assert reason == BLOCKED
    assert tally.losses == {("console", BLOCKED): count}
    kept = numbers(found)  # which they are depends on when the thread runs
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1], len(kept)) == (0, 3000, 3001 - count)


def test_what_waits_for_a_reader_at_the_end_is_counted_as_lost(pipe: Pipe) -> None:
    with writing(pipe.stream()) as (writer, tally):
        for number in range(3000):
            writer.add(line(number))
        began = time.monotonic()
        writer.stop(0.2)
        assert time.monotonic() - began < 60  # it waits for no reader
    found = len(pipe.take().split(b"\n")) - 1
    assert 0 < found < 3000
    assert tally.losses == {("console", STOPPED): 3000 - found}


def test_a_closed_pipe_loses_lines_and_goes_on(pipe: Pipe, file: RotatingFile, tmp_path: Path) -> None:
    os.close(pipe.reader)
    with writing(pipe.stream(), file) as (writer, tally):
        for number in range(10):
            writer.add(line(number))
        wait_for("the loss", lambda: tally.losses == {("console", "broken pipe"): 10})
        assert writer.error() == "console: broken pipe"
    assert len(numbers(read(tmp_path / "combined.log"))) == 10


def test_a_stream_that_is_full_or_not_even_open_loses_lines() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with writing(StreamSink("console", full, format_json, PIPE), StreamSink("gone", 9999, format_json, PIPE)) as (
        writer,
        tally,
    ):
        writer.add(line(1))
        writer.add(line(2))
        wait_for("the losses", lambda: len(tally.losses) == 2)
    os.close(full)
    assert tally.losses == {("console", "no space left on device"): 2, ("gone", "bad file descriptor"): 2}


def test_an_outlet_is_tried_again_though_nothing_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY", 0.01)
    sink = Raising()
    with writing(sink) as (writer, tally):
        writer.add(line(1))
        wait_for("another try", lambda: tally.losses and sink.tries > 4)
        sink.go_on.set()
        wait_for("recovery", lambda: not writer.error())
    assert losses(parse(b"".join(sink.written))) == [(1, "LookupError")]


def test_a_line_that_is_written_in_part_keeps_the_others_away_until_it_is_whole(pipe: Pipe) -> None:
    ask = "import fcntl, sys; fcntl.lockf(2, fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def others_may_write() -> bool:
        command = [sys.executable, "-c", ask]
        process = SPAWNER.submit(subprocess.run, command, stderr=pipe.writer, stdout=subprocess.DEVNULL).result()
        return process.returncode == 0

    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4096)
    stream = pipe.stream()
    stream.open()
    stream.write(b"x" * 6000 + b"\n")
    pipe.take()  # room for what another process says; this one's turn is not over
    assert not others_may_write()
    pipe.take()
    stream.write(b"")
    assert stream.waiting() == 0
    pipe.take()
    assert others_may_write()


@pytest.mark.parametrize("blocking", [True, False])
def test_processes_share_a_pipe_and_no_line_is_torn_or_lost(pipe: Pipe, blocking: bool) -> None:
    os.set_blocking(pipe.writer, blocking)
    environment = {**os.environ, "PYTHONPATH": str(SHOUTING.parent.parent.parent)}
    processes = [
        SPAWNER.submit(
            subprocess.Popen, [sys.executable, str(SHOUTING), name, "500"], stderr=pipe.writer, env=environment
        ).result()
        for name in "abcd"
    ]
    wait_for("the writers", lambda: (pipe.take() or True) and all(each.poll() is not None for each in processes))
    lines = parse(pipe.take())
    assert [each.returncode for each in processes] == [0] * 4
    assert sorted((each["writer"], each["number"]) for each in lines) == [
        (name, number) for name in "abcd" for number in range(500)
    ]
