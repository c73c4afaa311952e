"""A Consul with ACLs and mutual TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scalekit import ConfigError
from scalekit.errors import Unavailable
from tests.discovery.harness import StockService, open_services, wait_instances
from tests.processes import HOST, free_ports, wait_for
from tests.servers import Consul, find

pytestmark = [pytest.mark.anyio, pytest.mark.needs("consul", "openssl")]

TLS_FILES = {"ca_file": "cert", "cert_file": "cert", "key_file": "key"}
TOKEN = "b1gs33cr-3456-4444-8888-000000000001"


class TlsConsul(Consul):
    """Denies requests without the token, and connections without a client certificate."""

    def prepare(self) -> None:
        (self.https,) = free_ports(1)
        certify = ("-days", "2", "-nodes", "-newkey", "rsa:2048", "-x509", "-subj", "/CN=localhost")
        names = ("-addext", f"subjectAltName=IP:{HOST},DNS:localhost")
        self.box.run(find("openssl"), "req", *certify, *names, "-keyout", "key.pem", "-out", "cert.pem")

    def path(self, name: str) -> str:
        return str(self.box.directory / name)

    def command(self) -> list[object]:
        settings = [
            f'acl {{ enabled = true, default_policy = "deny", tokens {{ master = "{TOKEN}" }} }}',
            f"ports {{ https = {self.https} }}",
            f'ca_file = "{self.path("cert.pem")}"',
            f'cert_file = "{self.path("cert.pem")}"',
            f'key_file = "{self.path("key.pem")}"',
            "verify_incoming_https = true",
        ]
        return [*super().command(), *(part for setting in settings for part in ("-hcl", setting))]

    def is_ready(self) -> bool:
        command = (find("consul"), "kv", "put", f"-http-addr={HOST}:{self.port}", f"-token={TOKEN}", "ready", "1")
        return self.box.run(*command, check=False, limit=10).returncode == 0

    def table(self) -> dict[str, Any]:
        return {
            "source": "consul",
            "consul": f"https://{HOST}:{self.https}",
            "token": TOKEN,
            "tls": {name: self.path(f"{kind}.pem") for name, kind in TLS_FILES.items()},
        }


@pytest.fixture(scope="module")
def consul() -> Iterator[TlsConsul]:
    with TlsConsul() as consul:
        yield consul


async def test_services_are_registered_and_found_with_token_and_certificate(consul: TlsConsul) -> None:
    tls = ", ".join(f'{key} = "{file}"' for key, file in consul.table()["tls"].items())
    lines = "\n".join(f'{key} = "{value}"' for key, value in consul.table().items() if key != "tls")
    with StockService(
        f'[plugins.discovery]\nservice = "inventory"\ncache_dir = ""\n{lines}\ntls = {{{tls}}}\n'
    ) as stock:
        async with open_services(**consul.table()) as directory:
            assert await wait_instances(directory, 1) == [stock.url]
        assert TOKEN not in stock.log()


async def test_a_wrong_token_is_reported_with_the_remedy_and_never_logged(consul: TlsConsul) -> None:
    wrong = "c0ffee00-3456-4444-8888-00000000dead"
    toml = f'source = "consul"\nconsul = "{consul.url}"\nservice = "inventory"\ntoken = "{wrong}"\ncache_dir = ""\n'
    with StockService(f'[server]\noperator_networks = ["127.0.0.1"]\n[plugins.discovery]\n{toml}') as stock:
        wait_for("the log entry", lambda: "set token to one with the required policy" in stock.log())
        assert wrong not in stock.log()
        wait_for("the health check", lambda: "responded with status 403" in stock.get("/health"))
        assert stock.get("/health/ready") == '{"status":"ready"}'


async def test_without_the_client_certificate_no_instance_is_found(consul: TlsConsul) -> None:
    table = {**consul.table(), "tls": {"ca_file": consul.path("cert.pem")}}
    async with open_services(**table) as directory:
        with pytest.raises(Unavailable, match="no instance is known"):
            await directory.client("inventory").get("/")


async def test_an_invalid_certificate_file_fails_the_start(consul: TlsConsul) -> None:
    with pytest.raises(ConfigError, match=f"TLS to Consul: cannot load {__file__}"):
        async with open_services(**{**consul.table(), "tls": {"ca_file": __file__}}):
            raise AssertionError("the start succeeded")
