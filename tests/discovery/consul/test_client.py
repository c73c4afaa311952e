"""A Consul that wants a token, over TLS with certificates on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scalekit import ConfigError
from scalekit.errors import Unavailable
from tests.discovery.harness import Stock, found, services
from tests.processes import HOST, free_ports, wait_for
from tests.servers import Consul, find

pytestmark = [pytest.mark.anyio, pytest.mark.needs("consul", "openssl")]

TOKEN = "b1gs33cr-3456-4444-8888-000000000001"


class SecuredConsul(Consul):
    """Denies everything without the token, and talks to those with a certificate only."""

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

    def answers(self) -> bool:
        command = (find("consul"), "kv", "put", f"-http-addr={HOST}:{self.port}", f"-token={TOKEN}", "ready", "1")
        return self.box.run(*command, check=False, limit=10).returncode == 0

    def table(self) -> dict[str, str]:
        return {
            "source": "consul",
            "consul": f"https://{HOST}:{self.https}",
            "token": TOKEN,
            "ca_file": self.path("cert.pem"),
            "cert_file": self.path("cert.pem"),
            "key_file": self.path("key.pem"),
        }


@pytest.fixture(scope="module")
def consul() -> Iterator[SecuredConsul]:
    with SecuredConsul() as consul:
        yield consul


async def test_with_token_and_certificate_services_register_and_are_found(consul: SecuredConsul) -> None:
    lines = "\n".join(f'{key} = "{value}"' for key, value in consul.table().items())
    with Stock(f'[plugins.discovery]\nservice = "inventory"\nkeep = ""\n{lines}\n') as stock:
        async with services(**consul.table()) as live:
            assert await found(live, 1) == [stock.url]
        assert TOKEN not in stock.log()


async def test_a_wrong_token_is_told_with_its_remedy_and_never_shown(consul: SecuredConsul) -> None:
    wrong = "c0ffee00-3456-4444-8888-00000000dead"
    toml = f'source = "consul"\nconsul = "{consul.url}"\nservice = "inventory"\ntoken = "{wrong}"\nkeep = ""\n'
    with Stock(f'[server]\ntrusted = ["127.0.0.1"]\n[plugins.discovery]\n{toml}') as stock:
        wait_for("the log to tell", lambda: "set token to one that may" in stock.log())
        assert wrong not in stock.log()
        wait_for("health to tell", lambda: "refuses with 403" in stock.get("/health"))
        assert stock.get("/health/ready") == '{"status":"ready"}'


async def test_without_our_certificate_consul_does_not_talk(consul: SecuredConsul) -> None:
    table = {key: value for key, value in consul.table().items() if key not in ("cert_file", "key_file")}
    async with services(**table) as live:
        with pytest.raises(Unavailable, match="no instance is known"):
            await live.client("inventory").get("/")


async def test_a_file_that_is_no_certificate_stops_the_start(consul: SecuredConsul) -> None:
    with pytest.raises(ConfigError, match=f"no TLS to Consul with {__file__}"):
        async with services(**{**consul.table(), "ca_file": __file__}):
            raise AssertionError("it started")
