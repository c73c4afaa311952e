"""`scalekit check --connect` prints one line for an unusable database, without the password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command_line import scalekit
from tests.processes import HOST, free_ports
from tests.servers import Postgres, Replica

APPLICATION = "async def app(scope, receive, send):\n    pass\n"
PASSWORD = "hunter22"

Result = CompletedProcess[str]
Check = Callable[..., Result]


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    with Postgres() as running:
        hba = running.data / "pg_hba.conf"
        hba.write_text(f"host all shop {HOST}/32 scram-sha-256\n{hba.read_text()}")
        running.sql("CREATE ROLE shop LOGIN PASSWORD 'other'")
        running.sql("SELECT pg_reload_conf()")
        yield running


@pytest.fixture(scope="module")
def standby(primary: Postgres) -> Iterator[Replica]:
    with primary.replica("standby") as running:
        yield running


@pytest.fixture
def check(tmp_path: Path) -> Check:
    (tmp_path / "checked.py").write_text(APPLICATION)
    (tmp_path / "scalekit.toml").write_text('[app]\ntarget = "checked:app"\n\n[plugins.pool]\n')

    def run(*overrides: str) -> Result:
        options = [f"--set=plugins.pool.{override}" for override in overrides]
        done = scalekit("check", "--connect", *options, folder=tmp_path)
        done.stdout += done.stderr
        return done

    return run


def error_line(result: Result, status: int) -> str:
    """Return the only line of the error."""
    assert result.returncode == status, result.stdout
    assert PASSWORD not in result.stdout
    lines = [line for line in result.stdout.splitlines() if "failed" in line or "error" in line]
    assert len(lines) == 1, result.stdout
    return lines[0]


def test_an_unknown_scheme(check: Check) -> None:
    line = error_line(check(f"url=oracle://root:{PASSWORD}@{HOST}/shop"), 78)
    assert "plugins.pool.url" in line
    assert "the scheme 'oracle' is none of postgresql, postgres, sqlite, mysql, mariadb; write postgresql://" in line


def test_min_size_above_max_size(check: Check) -> None:
    message = "min_size 30 is more than max_size 20; lower min_size or raise max_size"
    assert message in error_line(check("min_size=30"), 78)


def test_url_and_urls(check: Check) -> None:
    result = check("url=postgresql://a@b/c", 'urls=["postgresql://a@b/c"]')
    assert "url and urls are both set; remove one" in error_line(result, 78)


def test_two_passwords(check: Check) -> None:
    result = check(f"password={PASSWORD}", "password_file=scalekit.toml")
    assert "password and password_file are both set" in error_line(result, 78)


def test_a_host_where_nothing_listens(check: Check) -> None:
    (port,) = free_ports(1)
    line = error_line(check(f"url=postgresql://shop:{PASSWORD}@{HOST}:{port}/shop"), 1)
    assert f"nothing listens at {HOST}:{port}" in line


def test_an_unknown_host(check: Check) -> None:
    line = error_line(check(f"url=postgresql://shop:{PASSWORD}@database.invalid/shop"), 1)
    assert "host name of database.invalid:5432 cannot be resolved" in line


def test_a_file_in_a_missing_folder(check: Check) -> None:
    assert "there is no folder 'nowhere'; create it" in error_line(check("url=sqlite:///nowhere/shop.db"), 78)


@pytest.mark.needs("postgres")
def test_a_refused_password(check: Check, primary: Postgres) -> None:
    line = error_line(check(f"url=postgresql://shop:{PASSWORD}@{HOST}:{primary.port}/postgres"), 1)
    assert "refuses the user or the password" in line
    assert "[plugins.pool]" in line


@pytest.mark.needs("postgres")
def test_a_missing_database(check: Check, primary: Postgres) -> None:
    line = error_line(check(f"url=postgresql://postgres:{PASSWORD}@{HOST}:{primary.port}/nothing"), 1)
    assert 'database "nothing" does not exist' in line


@pytest.mark.needs("postgres")
def test_a_standby(check: Check, standby: Replica) -> None:
    line = error_line(check(f"url=postgresql://postgres@{HOST}:{standby.port}/postgres"), 1)
    assert "is a standby and takes no writes; name the primary, or list all servers in urls" in line


@pytest.mark.needs("postgres")
def test_a_usable_database(check: Check, primary: Postgres) -> None:
    result = check(f"url=postgresql://shop@{HOST}:{primary.port}/postgres", "password=other")
    assert result.returncode == 0, result.stdout
    assert "ok     pool" in result.stdout
