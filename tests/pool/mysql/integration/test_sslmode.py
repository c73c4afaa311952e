"""Connections to MariaDB over TLS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool.connections import lifecycle
from tests.pool.harness import opened, wait_until
from tests.processes import HOST
from tests.servers import MariaDB

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb", "openssl")]

Refused = Callable[..., Awaitable[None]]
CIPHER = "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'"


class TlsMariaDB(MariaDB):
    """A MariaDB with a self-signed certificate for its address."""

    def prepare(self) -> None:
        super().prepare()
        names = ["-subj", "/CN=database", "-addext", f"subjectAltName=IP:{HOST}"]
        key = self.box.directory / "server.key"
        files = ["-keyout", key, "-out", self.certificate]
        self.box.run("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", *names, *files)
        self.settings = (f"ssl-cert={self.certificate}", f"ssl-key={key}")

    @property
    def certificate(self) -> Path:
        return self.box.directory / "server.crt"


@pytest.fixture(scope="module")
def server() -> Iterator[TlsMariaDB]:
    with TlsMariaDB() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(server: TlsMariaDB, tmp_path_factory: pytest.TempPathFactory) -> str:
    copy = tmp_path_factory.mktemp("tls") / "server.crt"
    copy.write_bytes(server.certificate.read_bytes())
    return str(copy)


@pytest.mark.parametrize(("sslmode", "encrypted"), [("disable", False), ("prefer", True), ("require", True)])
async def test_sslmode_decides_about_encryption(sslmode: str, encrypted: bool, server: TlsMariaDB) -> None:
    async with opened(server.url, sslmode=sslmode) as database:
        assert bool(await database.fetch_val(CIPHER)) is encrypted


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
async def test_a_server_with_a_trusted_certificate_is_accepted(
    sslmode: str, server: TlsMariaDB, certificate: str
) -> None:
    async with opened(server.url, sslmode=sslmode, sslrootcert=certificate) as database:
        assert await database.fetch_val(CIPHER)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Refused:
    """Return a function that waits until no connection can be opened for a reason, and no attempt is running."""
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
    sslmode: str, server: TlsMariaDB, refused: Refused
) -> None:
    await refused(server.url, "certificate verify failed", sslmode=sslmode)


async def test_only_verify_full_checks_the_host_name(server: TlsMariaDB, certificate: str, refused: Refused) -> None:
    other_name = server.url.replace(HOST, "localhost")
    async with opened(other_name, sslmode="verify-ca", sslrootcert=certificate) as database:
        assert await database.fetch_val(CIPHER)
    await refused(other_name, "Hostname mismatch", sslmode="verify-full", sslrootcert=certificate)


async def test_a_server_without_tls_is_used_only_where_that_is_allowed(mariadb_url: str, refused: Refused) -> None:
    async with opened(mariadb_url, sslmode="prefer") as database:
        assert not await database.fetch_val(CIPHER)
    await refused(mariadb_url, "the server has no TLS, which sslmode requires", sslmode="require")
