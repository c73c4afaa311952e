"""Containers of the servers that a service connects to, for Compose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scalekit.server_requirement import (
    CONSUL,
    MYSQL,
    OTLP,
    POSTGRESQL,
    RABBITMQ,
    REDIS,
    REDIS_CLUSTER,
    REDIS_SENTINEL,
)

USER = "app"
"""User and database of the service in each server."""
HEALTHY = "service_healthy"
STARTED = "service_started"
COMPLETED = "service_completed_successfully"

Definition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServerContainer:
    """A container: its *definition* in Compose, and the *address* that the service uses.

    ``${NAME}`` in the address is a variable of the file ``.env``, of which *secrets* must be set. *condition* is what
    the service waits for. *volume* is the folder of data that outlives the container. *configs* are files by name.
    *parts* are further containers that belong to the server.
    """

    definition: Definition
    address: str
    host_port: str
    secrets: tuple[str, ...] = ()
    condition: str = HEALTHY
    volume: str = ""
    configs: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, ServerContainer] = field(default_factory=dict)


def health_check(*command: str, interval: int = 5, timeout: int = 5, start_period: int = 30) -> Definition:
    """Return a health check that runs *command* without a shell; times are in seconds."""
    return {
        "test": ["CMD", *command],
        "interval": f"{interval}s",
        "timeout": f"{timeout}s",
        "retries": 5,
        "start_period": f"{start_period}s",
    }


HBA = "local all all trust\nhost all all all scram-sha-256\nhost replication all all scram-sha-256\n"
"""Access to PostgreSQL: with a password over the network, also for replicas."""
COPY_PRIMARY = """\
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  until pg_basebackup --pgdata="$PGDATA" --write-recovery-conf --wal-method=stream --checkpoint=fast; do
    rm -rf "$PGDATA"/*
    sleep 1
  done
fi
chmod 0700 "$PGDATA"
exec postgres
"""
"""Script of a replica: copy the primary once, which may take long, then follow it."""
POSTGRESQL_IMAGE = "postgres:17"
POSTGRESQL_DATA = "/var/lib/postgresql/data"
SHARED_MEMORY = "256mb"
"""Shared memory of a PostgreSQL: parallel queries fail with the 64 MB of a container."""
READY = health_check("pg_isready", "--quiet", "--host=127.0.0.1", f"--username={USER}", f"--dbname={USER}")


def postgresql(host: str, has_replicas: bool) -> ServerContainer:
    """Return a PostgreSQL; with replicas it keeps the write-ahead log that they may lack."""
    for_replicas: Definition = {
        "command": ["postgres", "-c", "hba_file=/etc/postgresql/pg_hba.conf", "-c", "wal_keep_size=1GB"],
        "configs": [{"source": "pg_hba", "target": "/etc/postgresql/pg_hba.conf"}],
    }
    return ServerContainer(
        {
            "image": POSTGRESQL_IMAGE,
            **(for_replicas if has_replicas else {}),
            "environment": {"POSTGRES_USER": USER, "POSTGRES_DB": USER, "POSTGRES_PASSWORD": "${POSTGRES_PASSWORD}"},
            "healthcheck": READY,
            "shm_size": SHARED_MEMORY,
            "stop_grace_period": "1m",
        },
        f"postgresql://{USER}:${{POSTGRES_PASSWORD}}@{host}:5432/{USER}",
        f"{host}:5432",
        secrets=("POSTGRES_PASSWORD",),
        volume=POSTGRESQL_DATA,
        configs={"pg_hba": HBA} if has_replicas else {},
    )


def postgresql_replica(host: str, primary: str) -> ServerContainer:
    """Return a PostgreSQL that follows *primary* by streaming replication."""
    variables = {"PGHOST": primary, "PGUSER": USER, "PGPASSWORD": "${POSTGRES_PASSWORD}"}
    return ServerContainer(
        {
            "image": POSTGRESQL_IMAGE,
            "user": "postgres",
            "entrypoint": ["bash", "-ec", COPY_PRIMARY.replace("$", "$$")],
            "environment": variables,
            "depends_on": {primary: {"condition": HEALTHY}},
            "healthcheck": {**READY, "start_period": "1h"},
            "shm_size": SHARED_MEMORY,
            "stop_signal": "SIGINT",
            "stop_grace_period": "1m",
        },
        f"postgresql://{USER}:${{POSTGRES_PASSWORD}}@{host}:5432/{USER}",
        f"{host}:5432",
        secrets=("POSTGRES_PASSWORD",),
        volume=POSTGRESQL_DATA,
    )


def mysql(host: str) -> ServerContainer:
    """Return a MariaDB."""
    variables = {"MARIADB_USER": USER, "MARIADB_DATABASE": USER, "MARIADB_RANDOM_ROOT_PASSWORD": "1"}
    return ServerContainer(
        {
            "image": "mariadb:11.4",
            "environment": {**variables, "MARIADB_PASSWORD": "${MARIADB_PASSWORD}"},
            "healthcheck": health_check("healthcheck.sh", "--connect", "--innodb_initialized"),
            "stop_grace_period": "1m",
        },
        f"mariadb://{USER}:${{MARIADB_PASSWORD}}@{host}:3306/{USER}",
        f"{host}:3306",
        secrets=("MARIADB_PASSWORD",),
        volume="/var/lib/mysql",
    )


REDIS_IMAGE = "redis:7.2"
PING = health_check("redis-cli", "ping")


def redis(host: str, is_cache: bool) -> ServerContainer:
    """Return a Redis: one for caches only evicts values, any other keeps its data on disk."""
    as_cache = ["--save", "", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]
    command = ["redis-server", *(as_cache if is_cache else ["--appendonly", "yes"])]
    return ServerContainer(
        {"image": REDIS_IMAGE, "command": command, "healthcheck": PING, "stop_grace_period": "30s"},
        f"redis://{host}:6379/0",
        f"{host}:6379",
        volume="" if is_cache else "/data",
    )


def redis_cluster(host: str) -> ServerContainer:
    """Return a Redis Cluster of one node, to which a second container assigns all slots once."""
    command = [
        "redis-server",
        "--cluster-enabled",
        "yes",
        "--appendonly",
        "yes",
    ]
    assign = ["redis-cli", "-h", host, "cluster", "addslotsrange", "0", "16383"]
    slots = ServerContainer(
        {
            "image": REDIS_IMAGE,
            "command": assign,
            "restart": "no",
            "depends_on": {host: {"condition": HEALTHY}},
        },
        "",
        "",
        condition=COMPLETED,
    )
    return ServerContainer(
        {"image": REDIS_IMAGE, "command": command, "healthcheck": PING, "stop_grace_period": "30s"},
        f"redis-cluster://{host}:6379",
        f"{host}:6379",
        volume="/data",
        parts={f"{host}-slots": slots},
    )


SENTINEL = """\
printf '%s\\n' 'sentinel resolve-hostnames yes' 'sentinel monitor main redis 6379 1' \\
  'sentinel down-after-milliseconds main 5000' > /tmp/sentinel.conf
exec redis-server /tmp/sentinel.conf --sentinel
"""


def redis_sentinel(host: str) -> ServerContainer:
    """Return a Sentinel with the Redis that it monitors."""
    return ServerContainer(
        {
            "image": REDIS_IMAGE,
            "user": "redis",  # the image changes its user only for redis-server itself
            "command": ["sh", "-ec", SENTINEL],
            "depends_on": {"redis": {"condition": HEALTHY}},
            "healthcheck": health_check("redis-cli", "-p", "26379", "ping"),
        },
        f"redis-sentinel://{host}:26379/main",
        f"{host}:26379",
        parts={"redis": redis("redis", is_cache=False)},
    )


def rabbitmq(host: str) -> ServerContainer:
    """Return a RabbitMQ with its management plugin; the host name is part of the names of its data."""
    return ServerContainer(
        {
            "image": "rabbitmq:4-management",
            "hostname": host,
            "environment": {"RABBITMQ_DEFAULT_USER": USER, "RABBITMQ_DEFAULT_PASS": "${RABBITMQ_PASSWORD}"},
            "healthcheck": health_check(
                "rabbitmq-diagnostics", "--quiet", "check_running", interval=10, timeout=15, start_period=60
            ),
            "stop_grace_period": "1m",
        },
        f"amqp://{USER}:${{RABBITMQ_PASSWORD}}@{host}:5672/",
        f"{host}:5672",
        secrets=("RABBITMQ_PASSWORD",),
        volume="/var/lib/rabbitmq",
    )


def consul(host: str) -> ServerContainer:
    """Return a Consul server of one node, whose name is in its data."""
    command = ["agent", "-server", "-bootstrap-expect=1", "-client=0.0.0.0", "-data-dir=/consul/data"]
    return ServerContainer(
        {
            "image": "hashicorp/consul:1.20",
            "hostname": host,
            "command": command,
            "healthcheck": health_check("consul", "operator", "raft", "list-peers"),
        },
        f"http://{host}:8500",
        f"{host}:8500",
        volume="/consul/data",
    )


def collector(host: str) -> ServerContainer:
    """Return a Jaeger, which receives OTLP and shows traces on port 16686; its image has no command for a check."""
    return ServerContainer(
        {"image": "jaegertracing/jaeger:2.4.0", "ports": ["127.0.0.1:16686:16686"]},
        f"http://{host}:4318",
        f"{host}:4318",
        condition=STARTED,
    )


CONTAINERS: Mapping[str, Callable[[str], ServerContainer]] = {
    MYSQL: mysql,
    REDIS_CLUSTER: redis_cluster,
    REDIS_SENTINEL: redis_sentinel,
    RABBITMQ: rabbitmq,
    CONSUL: consul,
    OTLP: collector,
}
"""The container of each kind of server, beside PostgreSQL and Redis, whose containers depend on their use."""
SUPPORTED = frozenset({POSTGRESQL, REDIS, *CONTAINERS})
