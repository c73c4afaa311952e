from __future__ import annotations

import os
from pathlib import Path

import pytest

from scalekit.config.types import SizeOrShare
from scalekit.runner.memory import usage


def test_memory_of_this_process_is_between_zero_and_the_memory_of_the_machine() -> None:
    pid = os.getpid()
    assert 10_000_000 < usage.pss(pid) <= usage.rss(pid) < usage.available_memory()
    assert usage.rss(pid) // 2**20 == pytest.approx(_resident_mebibytes(), abs=20)


def test_a_process_that_has_exited_uses_no_memory() -> None:
    assert usage.rss(2**22 + 1) == usage.pss(2**22 + 1) == usage.memory_in_use(2**22 + 1, 1) == 0


def test_pss_is_read_only_when_rss_exceeds_the_limit() -> None:
    pid = os.getpid()
    assert usage.memory_in_use(pid, limit=1) == pytest.approx(usage.pss(pid), rel=0.2)
    assert usage.memory_in_use(pid, limit=2**50) == pytest.approx(usage.rss(pid), rel=0.2)


def test_available_memory_is_the_limit_of_the_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    for name, text in {"unlimited": "max\n", "limited": "123456789\n"}.items():
        (tmp_path / name).write_text(text)
        limits.append(str(tmp_path / name))
    monkeypatch.setattr(usage, "CGROUP_LIMITS", (*limits, str(tmp_path / "absent")))
    assert usage.available_memory() == 123456789


@pytest.mark.parametrize(("text", "result"), [("512MiB", 512 * 2**20), ("20%", 200), ("12.5%", 125), ("100%", 1000)])
def test_a_limit_is_a_size_or_a_share(text: str, result: int) -> None:
    assert SizeOrShare(text).of(1000) == result
    assert str(SizeOrShare(text)) == text


@pytest.mark.parametrize("text", ["0%", "101%", "-1%", "20 %", "", "0B", "many", 0, -1, 1.5, True, None])
def test_other_values_of_a_limit_are_errors(text: object) -> None:
    with pytest.raises(ValueError, match=r"expected a size such as .* or a share such as"):
        SizeOrShare(text)  # type: ignore[arg-type]


def _resident_mebibytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) // 1024
