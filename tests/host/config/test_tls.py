"""The TLS table that plugins share."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

from scalekit import StartError, Tls, Url


def test_the_default_verifies_certificate_and_host_name() -> None:
    context = Tls().ssl_context("Consul")
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_verify_ca_verifies_the_certificate_without_the_host_name() -> None:
    context = Tls(verify="ca").ssl_context("Consul")
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_key_needs_a_certificate(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.touch()
    with pytest.raises(ValidationError, match="key_file needs cert_file"):
        Tls(key_file=str(file))


def test_missing_files_are_rejected() -> None:
    with pytest.raises(ValidationError, match=r"ca_file: no such file: /nowhere\.pem"):
        Tls(ca_file="/nowhere.pem")


def test_a_file_without_certificates_fails_the_start(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(StartError, match=r"TLS to Consul: cannot load .*ca\.pem"):
        Tls(ca_file=str(file)).ssl_context("Consul")


def test_settings_need_the_secure_scheme() -> None:
    with pytest.raises(ValueError, match="tls requires a https:// URL"):
        Tls(verify="ca").require_scheme("https", Url("http://127.0.0.1:8500"))
    Tls().require_scheme("https", Url("http://127.0.0.1:8500"))
    Tls(verify="ca").require_scheme("https", Url("https://127.0.0.1:8500"))
