from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalekit_logging import rotating_file
from scalekit_logging.rotating_file import RotatingFile
from scalekit_logging.sinks import Loss
from tests.logging import file_emitter
from tests.logging.log_capture import parse, read, read_rotated
from tests.processes import SPAWNER, wait_for
from tests.small_disk import small_disk

EMITTER = Path(file_emitter.__file__)
ROOT = EMITTER.parent.parent.parent


def line(number: int, length: int = 50) -> bytes:
    text = b'{"number":%d,"more":"' % number
    return text + b"x" * (length - len(text) - 3) + b'"}\n'


def numbers(directory: Path) -> list[int]:
    return sorted(each["number"] for each in read_rotated(directory, "combined.log"))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RotatingFile]:
    file = RotatingFile(str(tmp_path / "logs"), "combined.log", 500, 2)
    file.open()
    yield file
    file.close()


def test_full_files_are_rotated_and_only_backup_count_of_them_remain(file: RotatingFile, tmp_path: Path) -> None:
    for number in range(35):
        assert file.write(line(number)) is None
    logs = tmp_path / "logs"
    assert sorted(path.name for path in logs.glob("combined*")) == ["combined.log", "combined.log.1", "combined.log.2"]
    assert [each["number"] for each in read(logs / "combined.log")] == [30, 31, 32, 33, 34]
    assert [each["number"] for each in read(logs / "combined.log.1")] == list(range(20, 30))
    assert [each["number"] for each in read(logs / "combined.log.2")] == list(range(10, 20))


def test_a_batch_is_split_across_files_and_a_line_longer_than_max_size_gets_its_own(
    file: RotatingFile, tmp_path: Path
) -> None:
    assert file.write(b"".join([line(1), line(2, 2000), *(line(number) for number in range(3, 15))])) is None
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").glob("combined*")}
    assert sizes == {"combined.log": 100, "combined.log.1": 500, "combined.log.2": 2000}


def test_without_backups_a_full_file_is_replaced(tmp_path: Path) -> None:
    file = RotatingFile(str(tmp_path), "combined.log", 500, 0)
    file.open()
    for number in range(35):
        assert file.write(line(number)) is None
    file.close()
    assert numbers(tmp_path) == [30, 31, 32, 33, 34]


def test_a_file_that_was_renamed_or_removed_is_created_again(file: RotatingFile, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "combined.log"
    file.write(line(1))
    path.rename(tmp_path / "elsewhere")
    file.write(line(2))
    assert [each["number"] for each in read(path)] == [2]
    for each in (tmp_path / "logs").iterdir():
        each.unlink()
    path.parent.rmdir()
    file.write(line(3))
    assert [each["number"] for each in read(path)] == [3]


def test_only_owner_and_group_can_read_the_file(file: RotatingFile, tmp_path: Path) -> None:
    file.write(line(1))
    assert stat.S_IMODE((tmp_path / "logs" / "combined.log").stat().st_mode) & 0o007 == 0


@pytest.mark.parametrize("content", [b'{"half', line(1) + b'{"half', line(1) + b'{"half ' + b"x" * 60_000])
def test_a_partial_line_of_a_killed_process_is_truncated(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "combined.log"
    path.write_bytes(content)
    file = RotatingFile(str(tmp_path), "combined.log", 500_000, 2)
    file.open()
    file.write(line(2))
    with path.open("ab") as other:
        other.write(b'{"another partial')
    file.write(line(3))
    file.close()
    assert [each["number"] for each in read(path)] == [1, 2, 3][content.startswith(b'{"half') :]


def test_processes_share_files_and_no_line_is_torn_or_lost(tmp_path: Path) -> None:
    command = [sys.executable, str(EMITTER), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [SPAWNER.submit(subprocess.Popen, [*command, name, "2000"], env=environment).result() for name in "abcd"]
    for writer in writers:
        assert writer.wait(60) == 0
    lines = read_rotated(tmp_path, "combined.log")
    assert sorted((each["writer"], each["number"]) for each in lines) == [
        (name, number) for name in "abcd" for number in range(2000)
    ]
    assert len(list(tmp_path.glob("combined.log.*"))) > 10
    for path in tmp_path.glob("combined.log.*"):
        assert path.stat().st_size <= file_emitter.MAX_SIZE


def test_killed_processes_leave_only_complete_lines(tmp_path: Path) -> None:
    command = [sys.executable, str(EMITTER), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in "abcdef":
        writer = SPAWNER.submit(subprocess.Popen, [*command, name, "1000000"], env=environment).result()
        wait_for("lines", lambda name=name: f'"{name}"' in (tmp_path / "combined.log").read_text())  # type: ignore[misc]  # the default binds the loop variable
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    file = RotatingFile(str(tmp_path), "combined.log", file_emitter.MAX_SIZE, file_emitter.BACKUP_COUNT)
    file.open()
    file.close()
    assert {each["writer"] for each in read_rotated(tmp_path, "combined.log")} == set("abcdef")


def test_lines_are_lost_when_the_lock_times_out(
    file: RotatingFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotating_file, "LOCK_TIMEOUT", 0.05)
    with (tmp_path / "logs" / "combined.log").open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        assert file.write(line(1) + line(2)) == Loss(2, "resource temporarily unavailable")
    assert file.write(line(3)) is None
    assert numbers(tmp_path / "logs") == [3]


@pytest.fixture(name="small_disk")
def a_small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "64k") as disk:
        yield disk


def test_a_full_disk_loses_complete_lines_until_space_is_free(small_disk: Path) -> None:
    file = RotatingFile(str(small_disk), "combined.log", 10_000_000, 2)
    file.open()
    assert file.write(line(1)) is None
    loss = file.write(b"".join(line(number, 1000) for number in range(2, 102)))
    assert loss == Loss(100, "no space left on device")
    assert numbers(small_disk) == [1]
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    assert file.write(b"".join(line(number, 1000) for number in range(200, 230))) is not None
    ballast.unlink()
    assert file.write(b"".join(line(number, 1000) for number in range(300, 330))) is None
    file.close()
    assert numbers(small_disk) == [1, *range(300, 330)]
    parse((small_disk / "combined.log").read_bytes())
