from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scalekit import Duration, ReadOnlyError, Secret, StartError, Unavailable
from scalekit.telemetry import Telemetry
from scalekit_pool.config import DatabaseUrl, PoolConfig
from scalekit_pool.factory import DatabaseFactory, verify_driver
from scalekit_pool.health import check_database
from tests.pool.harness import opened, wait_until, wait_until_released
from tests.processes import HOST, free_ports
from tests.servers import Postgres
from tests.stream_server import stream_server

pytestmark = pytest.mark.anyio
needs_postgres = pytest.mark.needs("postgres")

SECRET = "S3cr3t-w0rd"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Postgres]:
    """Yield a server that requires a password."""
    with Postgres() as server:
        server.sql(f"CREATE ROLE app LOGIN PASSWORD '{SECRET}'")
        rules = server.data / "pg_hba.conf"
        rules.write_text("host all app all scram-sha-256\nhost all all all trust\nhost replication all all trust\n")
        server.sql("SELECT pg_reload_conf()")
        yield server


def address(server: Postgres, password: str = "", database: str = "postgres") -> str:
    return f"postgresql://app{':' if password else ''}{password}@{HOST}:{server.port}/{database}"


def others() -> set[Any]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("scalekit")}


async def refusal(url: str, **options: Any) -> str:
    with pytest.raises(StartError) as raised:
        async with opened(url, **options):
            pass
    assert not others()
    return str(raised.value)


@needs_postgres
async def test_a_password_may_be_in_the_address_or_the_table_or_a_file(guarded: Postgres, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    ways: list[tuple[str, dict[str, Any]]] = [
        (address(guarded, SECRET), {}),
        (address(guarded), {"password": SECRET}),
        (address(guarded), {"password_file": str(file)}),
    ]
    for url, options in ways:
        async with opened(url, **options) as database:
            assert await database.fetch_val("SELECT current_user") == "app"


@needs_postgres
async def test_a_password_file_is_read_at_each_connect(guarded: Postgres, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    async with opened(address(guarded), password_file=str(file), max_size=2) as database:
        assert await database.fetch_val("SELECT current_user") == "app"
        guarded.sql("ALTER ROLE app PASSWORD 'another'")
        try:
            file.write_text("another")
            database.driver.writers.invalidate_all()
            assert await database.fetch_val("SELECT current_user") == "app"
            assert database.driver.writers.supplier.last_error == ""
        finally:
            guarded.sql(f"ALTER ROLE app PASSWORD '{SECRET}'")


@needs_postgres
async def test_refused_credentials_fail_the_start_with_the_reason(
    guarded: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    where = f"{HOST}:{guarded.port}"
    wrong = await refusal(address(guarded, "wr0ng-S3cr3t"))
    assert wrong == f'{where} refuses the user or the password: password authentication failed for user "app"'
    assert await refusal(address(guarded, SECRET, "absent")) == (
        f'{where} has no such database: database "absent" does not exist'
    )
    assert "S3cr3t" not in caplog.text


@needs_postgres
async def test_an_unreachable_server_is_retried_in_the_background(caplog: pytest.LogCaptureFixture) -> None:
    port = free_ports(1)[0]
    url = f"postgresql://app:{SECRET}@{HOST}:{port}/app"
    async with opened(url, acquire_timeout="50ms") as database:
        with pytest.raises(
            Unavailable, match=f"no connection to {HOST}:{port}/app .*: nothing listens at {HOST}"
        ) as raised:
            await database.fetch_val("SELECT 1")
        with pytest.raises(ConnectionError, match="nothing listens at"):
            await check_database(database)
        assert SECRET not in str(raised.value) + caplog.text + database.driver.writers.supplier.last_error
    assert not others()
    assert caplog.text.count("nothing listens") == 1


async def test_connecting_to_an_unresponsive_host_times_out(tmp_path: Path) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with stream_server(say_nothing) as port:
        url = f"postgresql://app:{SECRET}@{HOST}:{port}/app"
        async with opened(url, connect_timeout="50ms", acquire_timeout="50ms") as database:
            with pytest.raises(Unavailable, match=r"0.05s: .*(no response within connect_timeout 0.05s|TimeoutError)"):
                await database.fetch_val("SELECT 1")


@needs_postgres
async def test_a_standby_is_refused_as_primary_and_a_primary_as_standby(guarded: Postgres) -> None:
    with guarded.replica("standby") as standby:
        async with opened(standby.url, acquire_timeout="50ms") as database:
            with pytest.raises(Unavailable, match=f"{HOST}:{standby.port} is a standby and takes no writes"):
                await database.fetch_val("SELECT 1")
        async with opened(guarded.url, read_only=True, acquire_timeout="50ms") as database:
            with pytest.raises(Unavailable, match=f"{HOST}:{guarded.port} is a primary, not a replica"):
                await database.fetch_val("SELECT 1")
        async with opened(standby.url, guarded.url) as database:
            assert await database.fetch_val("SELECT pg_is_in_recovery()") is False
            await check_database(database)
        async with opened(standby.url, read_only=True) as database:
            assert await database.fetch_val("SELECT pg_is_in_recovery()") is True
            with pytest.raises(ReadOnlyError):
                await database.execute("CREATE TABLE made (a int)")
            assert database.driver.writers.supplier.generation == 0
            with pytest.raises(ConnectionError, match="standby"):
                await check_database(database)


@needs_postgres
async def test_the_pool_leaves_a_server_that_becomes_a_standby(postgres_url: str) -> None:
    """A server that is made read-only does not close its connections."""
    async with opened(postgres_url, max_size=3, min_size=3) as database:
        await wait_until(lambda: database.driver.writers.idle == 3)
        async with database.connection() as connection:
            await connection.execute("SET default_transaction_read_only = on")
            with pytest.raises(Unavailable, match="takes no writes"):
                await connection.execute("CREATE TABLE made (a int)")
        assert database.driver.writers.supplier.generation == 1
        await database.execute("CREATE TABLE made (a int)")
        await wait_until_released(database)


async def test_a_file_that_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    assert "create its folder and make it writable" in await refusal(f"sqlite:///{tmp_path}/absent/a.db")
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database " * 100)
    assert "not a database" in await refusal(f"sqlite:///{broken}")


async def test_a_read_only_database_refuses_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with opened(url) as database:
        await database.execute("CREATE TABLE made (a)")
        await check_database(database)
    async with opened(url, read_only=True) as database:
        assert await database.fetch_all("SELECT * FROM made") == []
        with pytest.raises(ReadOnlyError):
            await database.execute("INSERT INTO made VALUES (1)")


@needs_postgres
async def test_further_databases_are_opened_in_the_same_way(postgres_url: str, tmp_path: Path) -> None:
    opener = DatabaseFactory(PoolConfig(max_size=2), Telemetry(100))
    async with (
        opener.open(f"sqlite:///{tmp_path}/a.db", "one", read_only=False) as one,
        opener.open(postgres_url, "two", read_only=False) as two,
    ):
        assert (one.dialect, two.dialect) == ("sqlite", "postgresql")
        assert two.driver.writers.limits.max_size == 2
        assert one.driver.writers.limits.max_size == 1


@needs_postgres
async def test_another_pool_of_the_primary_has_connections_of_its_own(postgres_url: str) -> None:
    limits: dict[str, Any] = {"max_size": 1, "min_size": 1, "max_waiting": 0, "acquire_timeout": Duration("60s")}
    factory = DatabaseFactory(PoolConfig(url=DatabaseUrl(postgres_url), **limits), Telemetry(100))
    async with (
        factory.open_any([postgres_url], "primary") as primary,
        factory.open_primary("queue", max_size=2) as other,
        primary.transaction(),
    ):
        await primary.fetch_val("SELECT 1")
        assert await asyncio.gather(*(other.fetch_val("SELECT 2") for _ in range(20))) == [2] * 20
        assert (other.driver.writers.limits.min_size, other.driver.writers.limits.max_size) == (1, 2)
        assert not other.in_transaction


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"url": "oracle://host/name"},
            "the scheme 'oracle' is none of postgresql, postgres, sqlite, mysql, mariadb; write postgresql://",
        ),
        ({"url": "postgresql:///name"}, "has no host"),
        ({"min_size": 5, "max_size": 4}, "min_size 5 is more than max_size 4"),
        ({"url": "sqlite:///a.db", "urls": ("postgresql://u@h/n",)}, "url and urls are both set"),
        ({"urls": ("sqlite:///a.db",)}, "name a SQLite file, or a MySQL, in url"),
        ({"password": Secret("x"), "password_file": "pyproject.toml"}, "are both set"),
        ({"password_file": "/absent"}, "file '/absent' not found"),
        ({"sslrootcert": "/absent"}, "sslrootcert: file '/absent' not found"),
        ({"max_size": 0}, "greater than or equal to 1"),
        ({"acquire_timeout": "0s"}, "acquire_timeout"),
        ({"statement_cache_size": -1}, "statement_cache_size"),
        ({"reset_session": "never"}, "when-needed"),
        ({"sslmode": "sometimes"}, "verify-full"),
        ({"max_sise": 3}, "max_sise"),
    ],
)
def test_config_errors_name_the_keys(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PoolConfig(**table)


def test_an_error_in_a_url_does_not_show_its_password() -> None:
    for url in ("oracle://host/name", f"postgresql://u:{SECRET}@/n"):
        with pytest.raises(ValidationError) as raised:
            PoolConfig(url=url)  # type: ignore[arg-type]
        assert [SECRET in detail["msg"] for detail in raised.value.errors()] == [False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"migrations": "alembic.ini"}, "migrations: Alembic needs PostgreSQL or SQLite here; use numbered SQL files"),
        ({"sslmode": "verify-ca", "sslrootcert": __file__}, "sslrootcert: cannot load .*test_factory.py"),
    ],
)
def test_what_mysql_lacks_is_refused_before_the_start(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError, match=message):
        verify_driver(PoolConfig(**{"url": "mysql://u@host/shop", **options}))


def test_mysql_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    verify_driver(PoolConfig(url="mariadb://u@host/shop"))  # type: ignore[arg-type]
    monkeypatch.setattr("scalekit_pool.factory.find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"pip install 'scalekit-asgi\[mysql\]'"):
        verify_driver(PoolConfig(url="mariadb://u@host/shop"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"url": "mysql://u@host"}, "the URL names no database; write mysql://user@host:3306/name"),
        ({"url": "mysql:///shop"}, "has no host"),
        ({"urls": ("mysql://u@a/shop", "mysql://u@b/shop")}, "urls are servers of one PostgreSQL cluster"),
    ],
)
def test_mistakes_in_urls_of_mysql_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PoolConfig(**table)
