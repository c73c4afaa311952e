from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection, socket
from struct import pack, unpack

import pytest

from tests import servers
from tests.clients import StatementError
from tests.processes import HOST, ExitedError, alive, family, free_ports, wait_for
from tests.servers import (
    Consul,
    HAProxy,
    Nginx,
    PgBouncer,
    Postgres,
    Prometheus,
    RabbitMQ,
    Redis,
    RedisCluster,
    ask,
)
from tests.tools import promtool

ROOT = Path(__file__).parent.parent
HELLO = f'server {{ listen {HOST}:@port@; location / {{ return 200 "hello"; }} }}'


@contextmanager
def backend(text: str) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def redis_line(port: int, command: bytes) -> bytes:
    with create_connection((HOST, port), timeout=60) as connection, connection.makefile("rb") as stream:
        connection.sendall(command + b"\r\n")
        return stream.readline()


@pytest.mark.parametrize(
    "binary",
    [
        pytest.param("redis-server", marks=pytest.mark.needs("redis")),
        pytest.param("valkey-server", marks=pytest.mark.needs("valkey")),
    ],
)
def test_redis_restarts_on_its_port_with_its_data(binary: str) -> None:
    with Redis("--appendonly", "yes", binary=binary) as redis:
        assert redis_line(redis.port, b"SET greeting hello") == b"+OK\r\n"
        redis.kill()
        with pytest.raises(ConnectionRefusedError):
            redis_line(redis.port, b"PING")
        redis.start()
        assert redis.cli("GET", "greeting") == "hello"
        redis.stop()


@pytest.mark.needs("redis")
def test_a_paused_server_keeps_connections_open_without_replies() -> None:
    with Redis() as redis, create_connection((HOST, redis.port)) as connection:
        redis.pause()
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        redis.resume()
        connection.settimeout(60)
        assert connection.recv(100) == b"+PONG\r\n"


@pytest.mark.needs("redis")
def test_redis_cluster_survives_the_loss_of_a_master() -> None:
    with RedisCluster() as cluster:
        owner, replica = cluster.owner("key"), cluster.replica("key")
        assert redis_line(owner.port, b"SET key value") == b"+OK\r\n"
        assert redis_line(replica.port, b"GET key").startswith(b"-MOVED")
        wait_for("replication", lambda: replica.cli("DBSIZE") == "1")
        owner.kill()
        wait_for("the replica's promotion", lambda: cluster.owner("key") is replica)
        cluster.start()
        assert cluster.replica("key") is owner
        cluster.hand_over("key")
        assert cluster.owner("key") is owner
        assert owner.cli("GET", "key") == "value"


@pytest.mark.needs("postgres")
def test_postgres_keeps_what_it_committed() -> None:
    with Postgres() as postgres:
        postgres.sql("create table notes (text text)")
        for end in postgres.kill, postgres.crash, postgres.stop:
            postgres.sql(f"insert into notes values ('{end.__name__}')")
            end()
            with pytest.raises(ConnectionRefusedError):
                create_connection((HOST, postgres.port))
            postgres.start()
        assert postgres.sql("select * from notes") == "kill\ncrash\nstop"


@pytest.mark.needs("postgres")
def test_postgres_replica_follows_refuses_writes_and_takes_over() -> None:
    with Postgres() as primary, primary.replica("first") as replica:
        primary.sql("create table notes (text text)")
        primary.sql("insert into notes values ('hello')")
        wait_for("replication", lambda: replica.sql("select text from notes") == "hello")
        assert primary.sql("select application_name from pg_stat_replication") == "first"
        with pytest.raises(StatementError, match="read-only transaction"):
            replica.sql("insert into notes values ('no')")
        primary.kill()
        assert replica.sql("select pg_promote()") == "t"
        replica.sql("insert into notes values ('yes')")


@pytest.mark.needs("postgres", "pgbouncer")
def test_pgbouncer_forwards_queries() -> None:
    with Postgres() as postgres, PgBouncer(postgres, pool_size=2) as bouncer:
        assert bouncer.sql("select inet_server_port()") == str(postgres.port)
        bouncer.kill()
        bouncer.start()
        assert bouncer.sql("select 1") == "1"


class Amqp:
    """Just enough AMQP 0-9-1 to publish a persistent message and to get it."""

    def __init__(self, port: int) -> None:
        self.connection = create_connection((HOST, port), timeout=60)
        self.stream = self.connection.makefile("rb")
        self.connection.sendall(b"AMQP\x00\x00\x09\x01")
        self.expect(10, 10)
        login = b"\x00guest\x00guest"
        self.call(0, 10, 11, pack(">I", 0) + short("PLAIN") + pack(">I", len(login)) + login + short("en_US"))
        self.expect(10, 30)
        self.call(0, 10, 31, pack(">HIH", 16, 131072, 0))
        self.call(0, 10, 40, short("/") + short("") + b"\x00")
        self.expect(10, 41)
        self.call(1, 20, 10, short(""))
        self.expect(20, 11)
        self.call(1, 50, 10, pack(">H", 0) + short("jobs") + b"\x02" + pack(">I", 0))  # durable
        self.expect(50, 11)

    def __enter__(self) -> Amqp:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()
        self.connection.close()

    def publish(self, body: bytes) -> None:
        self.call(1, 85, 10, b"\x00")  # publisher confirms
        self.expect(85, 11)
        self.call(1, 60, 40, pack(">H", 0) + short("") + short("jobs") + b"\x00")
        self.frame(2, 1, pack(">HHQHB", 60, 0, len(body), 1 << 12, 2))  # delivery mode 2: persistent
        self.frame(3, 1, body)
        self.expect(60, 80)

    def get(self) -> bytes:
        self.call(1, 60, 70, pack(">H", 0) + short("jobs") + b"\x01")
        self.expect(60, 71)
        self.read()
        return self.read()

    def call(self, channel: int, class_id: int, method_id: int, arguments: bytes) -> None:
        self.frame(1, channel, pack(">HH", class_id, method_id) + arguments)

    def frame(self, kind: int, channel: int, payload: bytes) -> None:
        self.connection.sendall(pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")

    def expect(self, class_id: int, method_id: int) -> None:
        assert unpack(">HH", self.read()[:4]) == (class_id, method_id)

    def read(self) -> bytes:
        _, _, size = unpack(">BHI", self.stream.read(7))
        return self.stream.read(size + 1)[:-1]


def short(text: str) -> bytes:
    return pack(">B", len(text)) + text.encode()


@pytest.mark.needs("rabbitmq")
def test_rabbitmq_keeps_what_it_confirmed() -> None:
    with RabbitMQ() as rabbit:
        with Amqp(rabbit.port) as client:
            client.publish(b"hello")
        rabbit.flush()
        rabbit.kill()
        rabbit.start()
        with Amqp(rabbit.port) as client:
            assert client.get() == b"hello"


@pytest.mark.needs("consul")
def test_consul_keeps_its_registrations() -> None:
    with Consul() as consul:
        assert ask(consul.port, "PUT", "/v1/kv/greeting", "hello").strip() == "true"
        consul.kill()
        consul.start()
        assert ask(consul.port, "GET", "/v1/kv/greeting?raw") == "hello"


@pytest.mark.needs("nginx")
def test_nginx_continues_with_the_remaining_upstream() -> None:
    with backend("one") as one, backend("two") as two, Nginx(one, two) as nginx:
        assert {ask(nginx.port, "GET", "/") for _ in range(4)} == {"one", "two"}
    (dead,) = free_ports(1)
    with backend("one") as one, Nginx(one, dead) as nginx:
        assert {ask(nginx.port, "GET", "/") for _ in range(4)} == {"one"}


@pytest.mark.needs("nginx")
def test_killed_nginx_takes_its_workers_along() -> None:
    with Nginx(http=HELLO) as nginx:
        pids = family(nginx.process.pid)
        assert len(pids) == 2
        nginx.kill()
        assert not any(map(alive, pids))
        nginx.start()
        assert ask(nginx.port, "GET", "/") == "hello"


@pytest.mark.needs("prometheus", "promtool")
def test_prometheus_scrapes_and_promtool_reports_errors() -> None:
    metrics = "# HELP visits_total Visits.\n# TYPE visits_total counter\nvisits_total 42\n"
    assert promtool("check", "metrics", text=metrics).returncode == 0
    assert "no help text" in promtool("check", "metrics", text="visits_total 42\n").stderr
    rules = '{"groups": [{"name": "test", "rules": [{"record": "visits:twice", "expr": "visits_total * 2"}]}]}'
    with backend(metrics) as port, Prometheus(port, rules=rules) as prometheus:
        (series,) = wait_for("the rule", lambda: prometheus.query("visits:twice"), prometheus.process)
        assert series["value"][1] == "84"


@pytest.mark.needs("haproxy", "nginx")
def test_haproxy_leaves_out_servers_that_are_not_ready() -> None:
    ready = f'server {{ listen {HOST}:@port@; location / {{ return 200 "ready"; }} }}'
    ill = f'server {{ listen {HOST}:@port@; location / {{ return 503 "ill"; }} }}'
    with Nginx(http=ready) as good, Nginx(http=ill) as bad, HAProxy(good.port, bad.port) as balancer:
        wait_for("the first checks", lambda: {ask(balancer.port, "GET", "/") for _ in range(4)} == {"ready"})


@pytest.mark.needs("redis")
def test_taken_port_is_tried_again_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket() as thief:
        thief.bind((HOST, 0))
        taken = thief.getsockname()[1]
        choices = iter([[taken], free_ports(1)])
        monkeypatch.setattr(servers, "free_ports", lambda count: next(choices))
        with Redis() as redis:
            assert redis.port != taken


@pytest.mark.needs("redis")
def test_failed_start_shows_the_log_and_leaves_nothing() -> None:
    redis = Redis("--no-such-setting", "1")
    with pytest.raises(ExitedError) as failure:
        redis.__enter__()
    assert "no-such-setting" in failure.value.__notes__[0]
    assert not redis.box.directory.exists()


@pytest.mark.needs("redis")
def test_server_outlives_the_thread_that_started_it() -> None:
    with ExitStack() as stack:
        redis = Redis()
        thread = threading.Thread(target=stack.enter_context, args=[redis])
        thread.start()
        thread.join()
        assert redis.cli("PING") == "PONG"


@pytest.mark.needs("redis", "nginx")
def test_servers_end_with_tests_that_are_killed() -> None:
    script = f"""
import json, sys
from tests.processes import family
from tests.servers import Nginx, Redis
with Redis() as redis, Nginx(http={HELLO!r}) as nginx, Nginx(http={HELLO!r}) as paused:
    paused.pause()
    servers = [redis, nginx, paused]
    pids = [pid for server in servers for pid in family(server.process.pid)]
    print(json.dumps([pids, [str(server.box.directory) for server in servers]]), flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        pids, folders = json.loads(process.stdout.readline())
        try:
            assert len(pids) == 5
            process.send_signal(signal.SIGKILL)
            wait_for("the servers' end", lambda: not any(map(alive, pids)))
        finally:
            for folder in folders:
                shutil.rmtree(folder)


def pytest_without_servers(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    test = folder / "test_needs.py"
    test.write_text("import pytest\n@pytest.mark.needs('k6')\ndef test_load():\n    raise AssertionError('ran')\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", f"--rootdir={folder}", "-rs", str(test)]
    nowhere = {"PATH": str(folder), "SCALEKIT_CACHE": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    surroundings = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=surroundings | nowhere | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_test_is_skipped_without_its_server(tmp_path: Path) -> None:
    result = pytest_without_servers(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "1 skipped" in result.stdout
    assert "servers missing: k6 (for test_needs.py::test_load)" in result.stdout


def test_test_fails_without_its_server_in_ci(tmp_path: Path) -> None:
    result = pytest_without_servers(tmp_path, CI="true")
    assert result.returncode == 1, result.stdout
    assert "not installed: k6" in result.stdout
    assert "servers missing: k6 (for test_needs.py::test_load)" in result.stdout


def test_unknown_server_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown server reddis"):
        servers.missing("reddis")
