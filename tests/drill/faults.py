"""The faults of a drill; each is injected, then repaired."""

from __future__ import annotations

import os
import signal
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from tests.processes import Box, Process, wait_for
from tests.servers import ClusterNode, RedisCluster, Server, find
from tests.workers import Supervisor, workers_of

NOTHING: frozenset[str] = frozenset()
DATA = frozenset({"read", "write", "login"})
"""The kinds of requests that need a server behind; `plain` needs none."""


@dataclass
class Fault:
    """A failure that is injected and then repaired."""

    name: str
    _: KW_ONLY
    takes: frozenset[str] = NOTHING
    """Kinds of requests that need the unavailable server."""
    cuts: int = 0
    """Number of requests that may fail because they are in the killed process."""
    shows: str = ""
    """Failed health check during the fault, if any: the fault lasts until it is reported."""

    def strike(self) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        """Repair the fault; return when the server is available again."""
        raise NotImplementedError


@dataclass
class Killed(Fault):
    """A server is killed (SIGKILL) and started again."""

    server: Server

    def strike(self) -> None:
        self.server.kill()

    def mend(self) -> None:
        self.server.start()


@dataclass
class Restarted(Fault):
    """A server is stopped (SIGTERM) and started again."""

    server: Server

    def strike(self) -> None:
        self.server.stop()

    def mend(self) -> None:
        self.server.start()


@dataclass
class Paused(Fault):
    """A server is paused with open connections (SIGSTOP) and resumed."""

    server: Server

    def strike(self) -> None:
        self.server.pause()

    def mend(self) -> None:
        self.server.resume()


@dataclass
class MasterKilled(Fault):
    """A master of a cluster is killed; its replica is promoted, and it returns as a replica."""

    cluster: RedisCluster
    _node: list[ClusterNode] = field(default_factory=list, init=False)

    def strike(self) -> None:
        self._node = [self.cluster.owner("drill")]
        self._node[0].kill()

    def mend(self) -> None:
        self._node[0].start()
        self.cluster.wait_until_agreed()


@dataclass
class WorkerKilled(Fault):
    """A worker of an instance is killed during requests; the supervisor starts another."""

    instance: Supervisor
    workers: int
    _killed: int = field(default=0, init=False)

    def strike(self) -> None:
        self._killed = workers_of(self.instance)[-1]
        os.kill(self._killed, signal.SIGKILL)

    def mend(self) -> None:
        wait_for("a new worker", lambda: len({*workers_of(self.instance)} - {self._killed}) == self.workers)


@dataclass
class DiskFull(Fault):
    """The file system of the log is full, then has space again."""

    disk: Path

    def strike(self) -> None:
        with (self.disk / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65536))
            except OSError:
                pass

    def mend(self) -> None:
        (self.disk / "filler").unlink()


@dataclass
class SlowClients(Fault):
    """Hundreds of clients at each address send their heads (`-H`) or bodies (`-B`) a few bytes at a time."""

    urls: tuple[str, ...]
    how: tuple[object, ...]
    box: Box
    _attacks: list[Process] = field(default_factory=list, init=False)

    def strike(self) -> None:
        attack = [find("slowhttptest"), *self.how, "-c", 300, "-r", 300, "-i", 1, "-l", 600, "-p", 5]
        self._attacks = [self.box.spawn(*attack, "-u", url, log="attack.log") for url in self.urls]

    def mend(self) -> None:
        for attack in self._attacks:
            self.box.kill(attack)
