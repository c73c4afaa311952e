"""Two runs of tests on one machine never get the same port."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.processes import BLOCK, HOST, PortBlocks, free_ports, pause_after

TAKE = """
import sys
from tests.processes import free_ports
print(*free_ports(50), flush=True)
sys.stdin.read()
"""
FORK = """
import os
from tests.processes import free_ports
own = free_ports(1)
if (child := os.fork()) == 0:
    print(*own, *free_ports(1), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.fixture
def ports() -> list[int]:
    return free_ports(12)


@pytest.fixture
def blocks(ports: list[int]) -> Iterator[tuple[PortBlocks, PortBlocks]]:
    one, other = PortBlocks(ports, 4), PortBlocks(ports, 4)
    yield one, other
    one.close()
    other.close()


def test_processes_get_ports_of_their_own_until_they_end() -> None:
    own = set(free_ports(50))
    command = [sys.executable, "-c", TAKE]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        assert process.stdout is not None
        ports = {int(word) for word in process.stdout.readline().split()}
        assert len(ports) == 50
        assert not ports & own
        own |= ports
    for process in running:
        process.communicate()


def test_a_forked_process_gets_ports_of_its_own() -> None:
    command = [sys.executable, "-c", FORK]  # not here: this process may have threads
    parent, child = map(int, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())
    assert parent // BLOCK != child // BLOCK


def test_a_port_is_reused_only_after_all_others(blocks: tuple[PortBlocks, PortBlocks], ports: list[int]) -> None:
    one, _ = blocks
    first = [one.take(1)[0] for _ in range(4)]
    assert sorted(first) == sorted(ports[:4])
    assert one.take(4) == first


def test_a_full_block_is_followed_by_an_unused_one(blocks: tuple[PortBlocks, PortBlocks], ports: list[int]) -> None:
    one, other = blocks
    assert set(one.take(4)) == set(ports[:4])
    assert set(other.take(4)) == set(ports[4:8])
    assert set(one.take(8)) == {*ports[:4], *ports[8:]}
    with pytest.raises(OSError, match=r"no free port in .*, 4 more needed"):
        other.take(8)


def test_ports_of_an_exited_process_are_reused(blocks: tuple[PortBlocks, PortBlocks], ports: list[int]) -> None:
    one, other = blocks
    one.take(1)
    one.close()
    assert other.take(1) == [ports[0]]


def test_ports_in_use_are_left_out(blocks: tuple[PortBlocks, PortBlocks], ports: list[int]) -> None:
    one, _ = blocks
    with socket.create_server((HOST, ports[1])), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((HOST, ports[2]))
        assert one.take(2) == [ports[0], ports[3]]


def test_long_waits_poll_less_often() -> None:
    assert [pause_after(waited, 0.02, 0.1) for waited in (0.0, 0.4, 1.0, 60.0)] == [0.02, 0.02, 0.05, 0.1]
