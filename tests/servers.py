"""Real servers and tools for tests; each one removes its files when it stops.

    with Redis() as redis, RabbitMQ() as rabbit:
        ...
        redis.kill()
        redis.start()

A server's ports are set inside the block. `start` returns when the server is ready, and restarts it with the same
ports and data after `kill` (kill -9) or `stop` (graceful). `pause` leaves its connections open without replies until
`resume`. All methods block: an async test calls the slow ones in a thread. `install_servers.sh` installs the servers.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from http.client import HTTPConnection
from itertools import cycle, pairwise
from pathlib import Path
from socket import create_connection
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from tests.clients import mariadb_rows, redis_reply, rows
from tests.processes import HOST, Box, ExitedError, Process, family, free_ports, wait_for

# Names for `@pytest.mark.needs(...)`, and the program by which a server is found.
CATALOGUE = {
    "actionlint": "actionlint",
    "asyncapi": "3.0.0-without-$id.json",
    "axe": "axe.min.js",
    "caddy": "caddy",
    "chromium": "chromium",
    "compose-config": "compose-config",
    "consul": "consul",
    "curl": "curl",
    "faketime": "faketime",
    "haproxy": "haproxy",
    "helm-charts": "helm-charts",
    "k6": "k6",
    "mariadb": "mariadbd",
    "nginx": "nginx",
    "openssl": "openssl",
    "otel-collector": "otel-collector",
    "pgbouncer": "pgbouncer",
    "postgres": "postgres",
    "prometheus": "prometheus",
    "promtool": "promtool",
    "rabbitmq": "rabbitmq-server",
    "rabbitmq4": "rabbitmq4-server",
    "redis": "redis-server",
    "slowhttptest": "slowhttptest",
    "systemd-analyze": "systemd-analyze",
    "valkey": "valkey-server",
    "wrk": "wrk",
}
# For Erlang: one scheduler, without busy waiting.
FRUGAL = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
PORT_TAKEN = re.compile("address already in use|eaddrinuse|port already in use", re.IGNORECASE)


class PortTakenError(ExitedError):
    """Another process has bound the port between the check and the start."""


def find(program: str) -> str:
    """Return the path of a program; raises FileNotFoundError with the remedy."""
    path = shutil.which(program, path=_search_path())
    if path is None:
        raise FileNotFoundError(f"{program} is not installed: run tests/install_servers.sh")
    return path


def missing(*names: str) -> list[str]:
    """Return the names of servers and tools that are not installed."""
    if unknown := sorted(set(names) - set(CATALOGUE)):
        raise ValueError(f"unknown server {', '.join(unknown)}: the catalogue has {', '.join(CATALOGUE)}")
    programs = {name: CATALOGUE[name] for name in names} | {"setpriv": "setpriv"}
    path = _search_path()
    return [name for name, program in programs.items() if shutil.which(program, path=path) is None]


def _search_path() -> str:
    cache = os.environ.get("SCALEKIT_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "scalekit"
    )
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    # RabbitMQ's own folder before the PATH: the script in sbin changes the user and writes to /var.
    folders = [Path(cache, "bin"), *newest_first, "/usr/lib/rabbitmq/bin", os.environ["PATH"], "/usr/sbin"]
    return os.pathsep.join(map(str, folders))


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def ask(port: int, method: str, path: str, body: str = "") -> str:
    """Send one HTTP request to this machine, bypassing proxies of the environment."""
    connection = HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status >= 400:
        raise OSError(f"{method} {path}: {response.status} {text}")
    return text


def listens(port: int) -> bool:
    """Return whether a server accepts connections on the port."""
    create_connection((HOST, port), timeout=60).close()
    return True


class Server:
    """Base class of servers. A subclass defines the command, and when the server is ready."""

    name: ClassVar[str]
    user: ClassVar[str | None] = None
    port_count: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL
    start_limit: ClassVar[float] = 90.0
    box: Box
    process: Process
    ports: list[int]

    def command(self) -> list[object]:
        """Return the command that runs the server in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Return whether the server is ready; an error counts as not ready."""
        return listens(self.port)

    def prepare(self) -> None:
        """Write the files that the server needs before its first start."""

    @property
    def port(self) -> int:
        return self.ports[0]

    def start(self) -> Self:
        """Start the server and wait until it is ready."""
        self.process = self.box.spawn(*self.command(), death_signal=self.death_signal)
        try:
            wait_for(f"readiness of {self.name}", self.is_ready, self.process, self.start_limit)
        except ExitedError as error:
            if PORT_TAKEN.search(self.box.logs()):
                raise PortTakenError(f"{self.name}: a port of {self.ports} is taken") from error
            raise
        return self

    def stop(self) -> None:
        """Stop the server gracefully."""
        self.box.stop(self.process, self.stop_signal)

    def kill(self) -> None:
        """Kill the server (kill -9)."""
        self.box.kill(self.process)

    def pause(self) -> None:
        """Pause the server: connections stay open without replies."""
        self.box.pause(self.process)

    def resume(self) -> None:
        """Resume the paused server."""
        self.box.resume(self.process)

    def __enter__(self) -> Self:
        for _ in range(2):
            try:
                return self._enter_box()
            except PortTakenError:
                pass
        return self._enter_box()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.box.__exit__(kind, error, traceback)

    def _enter_box(self) -> Self:
        with ExitStack() as stack:
            self.box = stack.enter_context(Box(self.name, self.user))
            self.ports = free_ports(self.port_count)
            self.prepare()
            self.start()
            stack.pop_all()
        return self


class Redis(Server):
    """A Redis without persistence, or a Valkey with `binary="valkey-server"`; arguments add settings."""

    name = "redis"
    password: ClassVar[str] = ""

    def __init__(self, *arguments: str, binary: str = "redis-server") -> None:
        self.arguments = arguments
        self.binary = binary

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[object]:
        where = ["--port", self.port, "--bind", HOST, "--dir", self.box.directory]
        memory_only = ["--save", "", "--appendonly", "no", "--maxmemory", "64mb"]
        return [find(self.binary), *where, *memory_only, *self.arguments]

    def is_ready(self) -> bool:
        return self.cli("PING") == "PONG"

    def cli(self, *words: object) -> str:
        """Return the reply as redis-cli prints it; errors of the server are text too."""
        return redis_reply(self.port, *words, password=self.password)


NODE_TIMEOUT = 1000
"""Milliseconds without a sign of life after which a node of a cluster has failed."""


class ClusterNode(Redis):
    """One node of a Redis Cluster."""

    name = "redis-node"
    port_count = 2

    def command(self) -> list[object]:
        # The bus port by name: the default, port + 10000, may be taken.
        cluster = ["--cluster-enabled", "yes", "--cluster-port", self.ports[1], "--cluster-node-timeout", NODE_TIMEOUT]
        haste = ["--cluster-replica-validity-factor", 0, "--repl-diskless-sync-delay", 0]
        return [*super().command(), *cluster, *haste, "--repl-ping-replica-period", 1]

    def running(self) -> bool:
        """Return whether the process runs."""
        return self.process.poll() is None

    def view(self) -> list[list[str]]:
        """Return the node's view, one line per node: id, address, flags, id of the master, ..., slots."""
        return [line.split() for line in self.cli("CLUSTER", "NODES").splitlines()]

    def agrees(self) -> bool:
        """Return whether the node sees three masters and three replicas, all healthy, and shows them to clients."""
        view = self.view()
        flags = [line[2].split(",") for line in view]
        roles = [flag for line in flags for flag in line if flag not in {"myself", "nofailover"}]
        replication = self.cli("INFO", "replication")
        return (
            "cluster_state:ok" in self.cli("CLUSTER", "INFO")
            and sorted(roles) == ["master"] * 3 + ["slave"] * 3
            # Ask the masters too: one may still hold back writes from a replica that reports to be up.
            and ("state=online" in replication or "master_link_status:up" in replication)
            # A replica is not shown while its offset is unknown.
            and {_port(line[1]) for line in view} <= set(self.cli("CLUSTER", "SLOTS").split())
        )


class RedisCluster:
    """Three masters and three replicas, each a server in `nodes`; `node.kill()` ends one."""

    def __init__(self, binary: str = "redis-server") -> None:
        self.nodes = [ClusterNode(binary=binary) for _ in range(6)]
        self._exit = ExitStack()

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._create()
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, traceback)

    def start(self) -> Self:
        """Start the nodes that do not run."""
        for node in self.nodes:
            if not node.running():
                node.start()
        self.wait_until_agreed()
        return self

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """Kill every node (kill -9)."""
        for node in self.nodes:
            node.kill()

    def pause(self) -> None:
        """Pause every node."""
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """Resume every node."""
        for node in self.nodes:
            node.resume()

    def owner(self, key: str) -> ClusterNode:
        """Return the master of the key's slot, as a running node sees it."""
        witness = next(node for node in self.nodes if node.running())
        slot = int(witness.cli("CLUSTER", "KEYSLOT", key))
        for line in witness.view():
            if "master" in line[2] and any(_holds(slots, slot) for slots in line[8:]):
                return self._node_at(line[1])
        raise LookupError(f"no master has slot {slot}: wait until the cluster agrees")

    def replica(self, key: str) -> ClusterNode:
        """Return the replica of the key's master."""
        owner = self.owner(key)
        identity = owner.cli("CLUSTER", "MYID")
        return next(self._node_at(line[1]) for line in owner.view() if line[3] == identity)

    def hand_over(self, key: str) -> None:
        """Swap the key's master and its replica: the topology changes without a lost node."""
        self.wait_until_agreed()
        replica = self.replica(key)
        requested = float("-inf")

        def is_promoted() -> bool:
            nonlocal requested
            if monotonic() - requested > 10:  # Redis cancels a failover that takes five seconds
                requested = monotonic()
                replica.cli("CLUSTER", "FAILOVER")
            try:
                return self.owner(key) is replica
            except LookupError:  # the node has not received the new topology yet
                return False

        wait_for("the failover", is_promoted)
        self.wait_until_agreed()

    def clear(self) -> Self:
        """Delete every key."""
        self.wait_until_agreed()
        for node in self.nodes:
            node.cli("FLUSHALL")  # a replica refuses it and follows its master
        return self

    @contextmanager
    def node_timeout(self, milliseconds: int) -> Iterator[None]:
        """Let nodes fail only after *milliseconds* without a sign of life, while inside."""
        for node in self.nodes:
            node.cli("CONFIG", "SET", "cluster-node-timeout", milliseconds)
        try:
            yield
        finally:
            for node in self.nodes:
                node.cli("CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT)

    def wait_until_agreed(self) -> None:
        """Wait until every node is up and all agree on the topology."""
        wait_for("the nodes' agreement", lambda: all(node.agrees() for node in self.nodes))

    def _create(self) -> None:
        addresses = [f"{HOST}:{node.port}" for node in self.nodes]
        node = self.nodes[0]
        client = find(node.binary.replace("-server", "-cli"))
        node.box.run(client, "--cluster", "create", *addresses, "--cluster-replicas", 1, "--cluster-yes")
        # The command returns before the nodes know their replicas.
        self.wait_until_agreed()

    def _node_at(self, address: str) -> ClusterNode:
        return next(node for node in self.nodes if str(node.port) == _port(address))


class SentinelNode(Redis):
    """One Sentinel of a group; *master* is the first master of the name ``mymaster``."""

    name = "redis-sentinel"

    def __init__(self, master: Redis, *settings: str) -> None:
        super().__init__()
        self.master = master
        self.settings = settings

    def prepare(self) -> None:
        haste = ["down-after-milliseconds mymaster 1000", "failover-timeout mymaster 3000"]
        settings = [f"monitor mymaster {HOST} {self.master.port} 2", *haste, *self.settings]
        # Sentinel rewrites the file: after a restart it remembers master, replicas and the other Sentinels.
        self.box.write("sentinel.conf", "".join(f"sentinel {line}\n" for line in settings))

    def command(self) -> list[object]:
        where = ["--port", self.port, "--bind", HOST, "--dir", self.box.directory]
        return [find(self.binary), self.box.directory / "sentinel.conf", "--sentinel", *where]

    def start(self) -> Self:
        """Start the Sentinel, and let it look at the servers more often than every 10 s."""
        super().start()
        # A Sentinel that has not heard of a failover after four publish periods demotes the new master, whose writes
        # are lost then: on a busy machine these must not be too short.
        self.cli("SENTINEL", "DEBUG", "info-period", 200, "publish-period", 500, "ask-period", 200)
        return self

    def master_port(self) -> int:
        """Return the port of the master that this Sentinel names."""
        return int(self.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").splitlines()[1])

    def agrees(self) -> bool:
        """Return whether it knows two replicas and two other Sentinels, all healthy, and waits for no failover."""
        words = self.cli("SENTINEL", "MASTER", "mymaster").splitlines()
        state = dict(zip(words[::2], words[1::2], strict=False))
        replicas = self.cli("SENTINEL", "REPLICAS", "mymaster").splitlines()
        others = self.cli("SENTINEL", "SENTINELS", "mymaster").splitlines()
        return (
            state["flags"] == "master"
            and (state["num-slaves"], state["num-other-sentinels"]) == ("2", "2")
            and _values(replicas, "flags") == ["slave"] * 2
            and _values(replicas, "master-link-status") == ["ok"] * 2
            and _values(others, "flags") == ["sentinel"] * 2
        )


class SentinelGroup:
    """A master and two replicas in `servers`, monitored by three `sentinels` as ``mymaster``; quorum 2."""

    def __init__(self, *arguments: str) -> None:
        haste = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        self.servers = [Redis(*haste, *arguments) for _ in range(3)]
        self.sentinels = [SentinelNode(self.servers[0]) for _ in range(3)]
        self._exit = ExitStack()

    @property
    def url(self) -> str:
        return f"redis-sentinel://{','.join(f'{HOST}:{sentinel.port}' for sentinel in self.sentinels)}/mymaster"

    @property
    def port(self) -> int:
        """The port of the master."""
        return self.master.port

    @property
    def master(self) -> Redis:
        """The master that the first reachable Sentinel names."""
        witness = next(sentinel for sentinel in self.sentinels if sentinel.process.poll() is None)
        port = witness.master_port()
        return next(server for server in self.servers if server.port == port)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            master, *replicas = self.servers
            for replica in replicas:
                replica.cli("REPLICAOF", HOST, master.port)
            for sentinel in self.sentinels:
                stack.enter_context(sentinel)
            self.wait_until_agreed()
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, traceback)

    def start(self) -> Self:
        """Start the servers and Sentinels that do not run, and wait until all agree."""
        for server in [*self.servers, *self.sentinels]:
            server.resume()
            if server.process.poll() is not None:
                server.start()
        self.wait_until_agreed()
        return self

    def cli(self, *words: object) -> str:
        """Return the reply of the master."""
        return self.master.cli(*words)

    def fail_over(self) -> Redis:
        """Make a replica the master, while the former master runs on as its replica; return the new master."""
        former = self.master
        self.sentinels[0].cli("SENTINEL", "FAILOVER", "mymaster")
        wait_for("the failover", lambda: self.master is not former)
        self.wait_until_agreed()
        return self.master

    def wait_until_agreed(self) -> None:
        """Wait until all Sentinels see the same master with two replicas, and that master serves both."""
        wait_for("the agreement of the Sentinels", self._agreed)

    def _agreed(self) -> bool:
        if not all(sentinel.agrees() for sentinel in self.sentinels):
            return False
        ports = {sentinel.master_port() for sentinel in self.sentinels}
        return len(ports) == 1 and self.master.cli("INFO", "replication").count("state=online") == 2


def _values(words: list[str], name: str) -> list[str]:
    """Return the values of the field *name* in a list of fields and values."""
    return [value for field, value in pairwise(words) if field == name]


def _port(address: str) -> str:
    return address.partition("@")[0].rpartition(":")[2]


def _holds(slots: str, slot: int) -> bool:
    first, _, last = slots.partition("-")
    return not slots.startswith("[") and int(first) <= slot <= int(last or first)


# New clusters differ in their system identifiers, as unrelated clusters do.
_CLUSTERS = cycle(range(3))


@cache
def _new_cluster(number: int) -> Path:
    """Create the data directory of a new cluster once for all servers; a copy takes a tenth of the time."""
    box = Box("postgres-data", Postgres.user)
    atexit.register(box.close)
    data = box.directory / f"data{number}"
    how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    box.run(find("initdb"), "-D", data, *how)
    return data


class Postgres(Server):
    """A PostgreSQL of its own; settings like `max_connections=20` are added to those for tests."""

    name = "postgres"
    user = "postgres"
    stop_signal = signal.SIGINT  # fast; SIGTERM waits for the clients
    death_signal = signal.SIGQUIT  # immediate; children and shared memory end with it
    settings_for_tests = (
        f"listen_addresses={HOST}",
        "unix_socket_directories=",
        "dynamic_shared_memory_type=mmap",  # else a killed server leaves files in /dev/shm
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=16MB",
        "wal_keep_size=64MB",
        "wal_receiver_status_interval=1s",
        "wal_retrieve_retry_interval=200ms",
        "autovacuum=off",
        "jit=off",
    )

    def __init__(self, *settings: str) -> None:
        self.settings = settings

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.box.directory / "data"

    def prepare(self) -> None:
        self.box.run("cp", "-a", _new_cluster(next(_CLUSTERS)), self.data)

    def command(self) -> list[object]:
        options = [part for setting in (*self.settings_for_tests, *self.settings) for part in ("-c", setting)]
        return [find("postgres"), "-D", self.data, "-p", self.port, *options]

    def is_ready(self) -> bool:
        return self.sql("select 1") == "1"

    def sql(self, query: str) -> str:
        """Return the rows, one per line, columns separated by bars."""
        return rows(self.port, query)

    def replica(self, name: str) -> Replica:
        """Return a streaming replica that is not started."""
        return Replica(self, name)

    def kill(self) -> None:
        pid_file = (self.data / "postmaster.pid").read_text().splitlines()
        super().kill()
        # Remove the System V segment of the killed server.
        self.box.run("ipcrm", "-m", pid_file[6].split()[1])

    def crash(self) -> None:
        """End all sessions at once; the next start recovers (immediate shutdown)."""
        self.box.stop(self.process, signal.SIGQUIT)


class Replica(Postgres):
    """A streaming replica; `sql("select pg_promote()")` makes it a primary."""

    name = "replica"

    def __init__(self, primary: Postgres, name: str) -> None:
        super().__init__(*primary.settings, f"cluster_name={name}")
        self.primary = primary

    def prepare(self) -> None:
        source = ["-h", HOST, "-p", self.primary.port, "-U", "postgres"]
        how = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        self.box.run(find("pg_basebackup"), *source, "-D", self.data, *how)


MARIADB_USERS = """
FLUSH PRIVILEGES;
CREATE DATABASE shop CHARACTER SET utf8mb4;
CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
CREATE USER shop@'127.0.0.1' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO shop@'127.0.0.1';
REVOKE READ ONLY ADMIN, SUPER ON *.* FROM shop@'127.0.0.1';
"""


@cache
def _new_mariadb() -> Path:
    """Create the data directory of a new MariaDB once for all servers; a copy takes a tenth of the time."""
    box = Box("mariadb-data", MariaDB.user)
    atexit.register(box.close)
    data = box.directory / "data"
    how = ["--no-defaults", f"--datadir={data}", "--innodb-log-file-size=4M"]
    box.run(find("mariadb-install-db"), *how, "--auth-root-authentication-method=normal", "--skip-test-db")
    box.run(find("mariadbd"), *how, "--bootstrap", text=MARIADB_USERS)
    return data


class MariaDB(Server):
    """A MariaDB of its own; settings like `max_connections=20` are added to those for tests."""

    name = "mariadb"
    user = "nobody"
    settings_for_tests = (
        f"bind-address={HOST}",
        "skip-name-resolve",
        "innodb-flush-log-at-trx-commit=2",  # a commit outlives a killed server
        "innodb-flush-method=nosync",
        "innodb-doublewrite=0",
        "innodb-buffer-pool-size=16M",
        "innodb-log-file-size=4M",
        "aria-pagecache-buffer-size=1M",
        "key-buffer-size=1M",
        "performance-schema=OFF",
        "max-connections=200",
    )

    def __init__(self, *settings: str) -> None:
        self.settings = settings

    @property
    def url(self) -> str:
        return f"mariadb://shop:secret@{HOST}:{self.port}/shop"

    @property
    def data(self) -> Path:
        return self.box.directory / "data"

    def prepare(self) -> None:
        self.box.run("cp", "-a", _new_mariadb(), self.data)

    def command(self) -> list[object]:
        socket = self.box.directory / "socket"
        options = [f"--{setting}" for setting in (*self.settings_for_tests, *self.settings)]
        where = [f"--datadir={self.data}", f"--port={self.port}", f"--socket={socket}"]
        return [find("mariadbd"), "--no-defaults", *where, *options]

    def is_ready(self) -> bool:
        return self.sql("SELECT 1") == "1"

    def sql(self, query: str) -> str:
        """Return the rows of statements of the user root, one per line, columns separated by bars."""
        return mariadb_rows(self.port, query)


class PgBouncer(Server):
    """A PgBouncer in front of a PostgreSQL."""

    name = "pgbouncer"
    user = "postgres"

    def __init__(self, database: Postgres, pool_mode: str = "transaction", pool_size: int = 5) -> None:
        self.database = database
        self.pool_mode = pool_mode
        self.pool_size = pool_size

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    def prepare(self) -> None:
        users = self.box.write("users.txt", '"postgres" ""\n')
        self.box.write(
            "pgbouncer.ini",
            f"""
[databases]
* = host={HOST} port={self.database.port}
[pgbouncer]
listen_addr = {HOST}
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {self.pool_mode}
default_pool_size = {self.pool_size}
""",
        )

    def command(self) -> list[object]:
        return [find("pgbouncer"), self.box.directory / "pgbouncer.ini"]

    def sql(self, query: str) -> str:
        """Return the rows of a query through PgBouncer."""
        return rows(self.port, query)


class RabbitMQ(Server):
    """A RabbitMQ; use one queue name or virtual host per test, since it takes seconds to start."""

    name = "rabbitmq"
    port_count = 3
    programs: ClassVar[tuple[str, str]] = ("rabbitmq-server", "rabbitmqctl")
    start_limit = 180.0

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}/"

    def prepare(self) -> None:
        self.box.write("enabled_plugins", "[].\n")
        self.box.write(
            "rabbitmq.conf",
            f"listeners.tcp.1 = {HOST}:{self.port}\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 512MB\n",
        )
        self.box.environment |= self._environment(*self.ports)
        # A port mapper of our own: the first Erlang node would leave one running on its standard port.
        self.box.spawn(find("epmd"), "-port", self.ports[2], "-address", HOST, log="epmd.log")

    def _environment(self, port: int, distribution: int, mapper: int) -> dict[str, str]:
        folder = self.box.directory
        return {
            "RABBITMQ_NODENAME": f"test{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            # The script becomes the broker, so that the process id is the broker's.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput -kernel inet_dist_use_interface {{127,0,0,1}} {FRUGAL}",
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_CRASH_DUMP_SECONDS": "0",
        }

    def command(self) -> list[object]:
        return [find(self.programs[0])]

    def is_ready(self) -> bool:
        with create_connection((HOST, self.port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"

    def ctl(self, *words: object) -> str:
        """Return the output of a rabbitmqctl command such as `list_queues`."""
        # Its virtual machine takes a second of CPU to start: a minute, where many processes share a core.
        return self.box.run(find(self.programs[1]), "--quiet", *words, limit=self.start_limit).stdout.strip()

    def flush(self) -> None:
        """Wait until new queues are on disk, up to 2 s; a broker killed earlier loses them."""
        self.ctl("eval", "disk_log:sync(latest_log), [dets:sync(Table) || Table <- dets:all()].")


class RabbitMQ4(RabbitMQ):
    """A RabbitMQ 4, whatever the distribution has."""

    name = "rabbitmq4"
    programs = ("rabbitmq4-server", "rabbitmq4ctl")


class Consul(Server):
    """A single Consul server; its data survive `kill`."""

    name = "consul"
    port_count = 4

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def command(self) -> list[object]:
        http, dns, serf, rpc = self.ports
        ports = [f"-http-port={http}", f"-dns-port={dns}", f"-serf-lan-port={serf}", f"-server-port={rpc}"]
        closed = ["-serf-wan-port=-1", "-grpc-port=-1"]
        server = ["-server", "-bootstrap-expect=1", f"-node=node{http}", f"-data-dir={self.box.directory}/data"]
        settings = [
            "disable_update_check = true",
            "leave_on_terminate = false",  # leaving takes 8 s
            "skip_leave_on_interrupt = true",
            "performance { raft_multiplier = 1 }",
        ]
        hcl = [part for setting in settings for part in ("-hcl", setting)]
        return [find("consul"), "agent", *server, f"-bind={HOST}", f"-client={HOST}", *ports, *closed, *hcl]

    def is_ready(self) -> bool:
        # A write: the status endpoint names a leader before the agent can serve.
        return ask(self.port, "PUT", "/v1/kv/ready", "1").strip() == "true"


class OtelCollector(Server):
    """An OpenTelemetry Collector that receives OTLP over HTTP and forwards it as JSON to the port *target*."""

    name = "otel-collector"
    PIPELINE = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: {host}:{port}}}}}}}}}
exporters:
  otlp_http:
    {{endpoint: "http://{host}:{target}", encoding: json, compression: none, sending_queue: {{enabled: false}}}}
service:
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}
  telemetry: {{metrics: {{level: none}}}}
"""

    def __init__(self, target: int) -> None:
        self.target = target

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        text = self.PIPELINE.format(host=HOST, port=self.port, target=self.target)
        (self.box.directory / "collector.yaml").write_text(text)

    def command(self) -> list[object]:
        return [find("otel-collector"), "--config", self.box.directory / "collector.yaml"]

    def is_ready(self) -> bool:
        with create_connection((HOST, self.port), 1):
            return True


class Nginx(Server):
    """An nginx in front of upstream ports, or with `http` as the content of its `http` block.

    That text writes `listen 127.0.0.1:@port@;` where the port belongs. Paths are relative to the box.
    """

    name = "nginx"
    death_signal = signal.SIGTERM  # a killed master would leave its workers

    def __init__(self, *upstreams: int, http: str | None = None) -> None:
        self.http = _balanced(upstreams) if http is None else http

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        folders = "\n".join(f"{kind}_temp_path {kind};" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        http = self.http.replace("@port@", str(self.port))
        self.box.write(
            "nginx.conf",
            f"daemon off; worker_processes 1; pid nginx.pid; error_log error.log warn; {user}\n"
            f"events {{ worker_connections 1024; }}\n"
            f"http {{\naccess_log access.log;\n{folders}\n{http}\n}}\n",
        )

    def command(self) -> list[object]:
        folder = self.box.directory
        # -e: messages before the configuration is read would go to the distribution's log.
        return [find("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]

    def is_ready(self) -> bool:
        # The master listens before its worker has started.
        return len(family(self.process.pid)) > 1 and super().is_ready()


def _balanced(upstreams: tuple[int, ...]) -> str:
    servers = "\n".join(f"server {HOST}:{port} max_fails=1 fail_timeout=1s;" for port in upstreams)
    return f"""
upstream app {{
    least_conn;
    zone app 64k;
    {servers}
    keepalive 32;
}}
server {{
    listen {HOST}:@port@;
    location / {{
        proxy_pass http://app;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_connect_timeout 1s;
        proxy_read_timeout 5s;
        proxy_next_upstream error timeout http_502 http_503;
        proxy_next_upstream_tries 3;
        proxy_next_upstream_timeout 3s;
        add_header X-Upstream $upstream_addr always;
    }}
}}"""


class Prometheus(Server):
    """A Prometheus that scrapes `/metrics` of ports twice a second, from 5 s after its start."""

    name = "prometheus"

    def __init__(self, *targets: int, rules: str = "groups: []") -> None:
        self.targets = targets
        self.rules = rules

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        rules = self.box.write("rules.yml", self.rules)
        often = {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "500ms"}
        targets = [f"{HOST}:{port}" for port in self.targets]
        configuration = {
            "global": often,
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": targets}]}],
        }
        self.box.write("prometheus.yml", json.dumps(configuration))  # JSON is YAML

    def command(self) -> list[object]:
        folder = self.box.directory
        where = [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={HOST}:{self.port}"]
        return [find("prometheus"), f"--config.file={folder}/prometheus.yml", *where, "--log.level=warn"]

    def is_ready(self) -> bool:
        return bool(ask(self.port, "GET", "/-/ready"))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that the expression selects, each with `metric` and `value`."""
        result = json.loads(ask(self.port, "GET", f"/api/v1/query?{urlencode({'query': expression})}"))
        series: list[dict[str, Any]] = result["data"]["result"]
        return series


class HAProxy(Server):
    """A TCP load balancer of upstream ports that leaves out those that are not ready."""

    name = "haproxy"

    def __init__(self, *upstreams: int) -> None:
        self.upstreams = upstreams

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        check = "check inter 100ms fall 1 rise 1"
        servers = "\n".join(f"    server s{port} {HOST}:{port} {check}" for port in self.upstreams)
        self.box.write(
            "haproxy.cfg",
            f"""
defaults
    mode tcp
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    retries 3
    option redispatch 1
listen app
    bind {HOST}:{self.port}
    balance leastconn
    option httpchk GET /health/ready
{servers}
""",
        )

    def command(self) -> list[object]:
        return [find("haproxy"), "-f", self.box.directory / "haproxy.cfg", "-db", "-q"]
