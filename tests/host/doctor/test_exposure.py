"""Defaults that are unsafe on a public address are found there only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalekit import Severity, create_app
from scalekit.doctor.exposure import exposure_diagnostics, file_mode_findings, is_public
from scalekit.testing.conformance import bare_application

pytestmark = pytest.mark.anyio


async def found(**server: Any) -> dict[str, Severity]:
    diagnostics = exposure_diagnostics(create_app({"server": server}, app=bare_application))
    return {finding.name: finding.severity for each in diagnostics for finding in await each.probe()}


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("unix:/run/shop.sock", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.1", True),
        ("shop.example", True),
    ],
)
def test_public_addresses_are_those_that_other_machines_reach(host: str, public: bool) -> None:
    assert is_public(host) is public


async def test_a_service_of_this_machine_is_safe() -> None:
    assert await found() == {}


async def test_a_public_service_needs_tls_hosts_and_operators() -> None:
    warning = Severity.WARNING
    assert await found(host="0.0.0.0") == {"plain-http": warning, "allowed-hosts": warning, "operators": warning}
    safe = {"allowed_hosts": ["shop.example"], "operator_token": "0123456789abcdef0123456789abcdef"}
    assert await found(host="0.0.0.0", trusted_proxies=["10.0.0.0/8"], **safe) == {}
    assert await found(host="0.0.0.0", role="worker") == {}


async def test_networks_of_every_client_are_found() -> None:
    assert await found(trusted_proxies=["0.0.0.0/0", "unix"]) == {"trusted-proxies": Severity.WARNING}
    assert await found(operator_networks=["::/0"]) == {"operators": Severity.ERROR}
    public = await found(host="::", allowed_hosts=["a"], trusted_proxies=["::/0"], operator_networks=["10.0.0.0/8"])
    assert public == {"trusted-proxies": Severity.ERROR}


async def test_a_public_management_address_is_found() -> None:
    assert await found(management_address="0.0.0.0:9100") == {"management-address": Severity.WARNING}
    assert await found(management_address="127.0.0.1:9100") == {}
    assert await found(management_address="unix:/run/management.sock") == {}


def test_a_file_that_others_may_write_is_found(tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    assert not list(file_mode_findings(file))
    file.touch()
    for mode, severities in ((0o644, []), (0o664, [Severity.ADVICE]), (0o646, [Severity.ERROR])):
        file.chmod(mode)
        assert [each.severity for each in file_mode_findings(file)] == severities
