"""Connections to PostgreSQL over TLS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool.connections import lifecycle
from tests.pool.harness import opened, wait_until
from tests.processes import HOST
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres", "openssl")]

Refused = Callable[..., Awaitable[None]]
IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


class TlsPostgres(Postgres):
    """A PostgreSQL server with a self-signed certificate for its address."""

    def __init__(self) -> None:
        super().__init__("ssl=on")

    def prepare(self) -> None:
        super().prepare()
        names = ["-subj", "/CN=database", "-addext", f"subjectAltName=IP:{HOST}"]
        files = ["-keyout", self.data / "server.key", "-out", self.certificate]
        self.box.run("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", *names, *files)

    @property
    def certificate(self) -> Path:
        return self.data / "server.crt"


@pytest.fixture(scope="module")
def server() -> Iterator[TlsPostgres]:
    with TlsPostgres() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(server: TlsPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    copy = tmp_path_factory.mktemp("tls") / "server.crt"
    copy.write_bytes(server.certificate.read_bytes())
    return str(copy)


@pytest.mark.parametrize(("sslmode", "encrypted"), [("disable", False), ("prefer", True), ("require", True)])
async def test_sslmode_decides_about_encryption(sslmode: str, encrypted: bool, server: TlsPostgres) -> None:
    async with opened(server.url, sslmode=sslmode) as database:
        assert await database.fetch_val(IS_ENCRYPTED) is encrypted


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
async def test_a_server_with_a_trusted_certificate_is_accepted(
    sslmode: str, server: TlsPostgres, certificate: str
) -> None:
    async with opened(server.url, sslmode=sslmode, sslrootcert=certificate) as database:
        assert await database.fetch_val(IS_ENCRYPTED) is True


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Refused:
    """Return a function that waits until no connection can be opened for a reason, and no attempt is running.

    When asyncpg is cancelled while it negotiates TLS, it drops an error that cannot be caught.
    """
    monkeypatch.setattr(lifecycle, "INITIAL_BACKOFF", 3600.0)
    monkeypatch.setattr(lifecycle, "MAX_BACKOFF", 3600.0)

    async def refused(url: str, reason: str, **options: Any) -> None:
        async with opened(url, connect_timeout="60s", acquire_timeout="200ms", **options) as database:
            await wait_until(lambda: f"no connection to {database.driver.writers.target}" in caplog.text)
            with pytest.raises(Unavailable, match=reason):
                await database.fetch_val("SELECT 1")

    return refused


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
async def test_a_server_with_an_untrusted_certificate_is_refused(
    sslmode: str, server: TlsPostgres, refused: Refused
) -> None:
    await refused(server.url, "certificate verify failed", sslmode=sslmode)


async def test_only_verify_full_checks_the_host_name(server: TlsPostgres, certificate: str, refused: Refused) -> None:
    other_name = server.url.replace(HOST, "localhost")
    async with opened(other_name, sslmode="verify-ca", sslrootcert=certificate) as database:
        assert await database.fetch_val(IS_ENCRYPTED) is True
    await refused(other_name, "Hostname mismatch", sslmode="verify-full", sslrootcert=certificate)
