from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalekit_logging.background_writer import PROCESS_STOPPED
from scalekit_logging.console_formatter import format_json
from scalekit_logging.rotating_file import RotatingFile
from scalekit_logging.stream_sink import BLOCKED, StreamSink
from tests.logging import stderr_emitter
from tests.logging.log_capture import parse, read
from tests.logging.writer_harness import BUFFER_SIZE, line, losses, numbers, running_writer
from tests.processes import SPAWNER, wait_for

EMITTER = Path(stderr_emitter.__file__)


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


def test_a_stalled_pipe_reader_loses_lines_but_does_not_block_files(
    pipe: Pipe, file: RotatingFile, tmp_path: Path
) -> None:
    with running_writer(pipe.stream(max_pending=BUFFER_SIZE), file) as (writer, counter):
        for number in range(3000):
            writer.add(line(number))
        file_path = tmp_path / "combined.log"  # a reader may see half of a write
        wait_for("the file", lambda: file_path.read_bytes().count(b"\n") == 3000)
        assert len(numbers(read(file_path))) == 3000
        wait_for("the loss", lambda: counter.losses)
        assert writer.error() == f"console: {BLOCKED}"
        wait_for("recovery", lambda: pipe.read_available() and not writer.error())
        writer.add(line(3000))
        wait_for("the rest", lambda: b'"number":3000,' in pipe.read_available())
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
        StreamSink("console", full, format_json, BUFFER_SIZE), StreamSink("closed", 9999, format_json, BUFFER_SIZE)
    ) as (
        writer,
        counter,
    ):
        writer.add(line(1))
        writer.add(line(2))
        wait_for("the losses", lambda: len(counter.losses) == 2)
    os.close(full)
    assert counter.losses == {("console", "no space left on device"): 2, ("closed", "bad file descriptor"): 2}


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
