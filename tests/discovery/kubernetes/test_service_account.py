"""The files and variables that the kubelet gives to a pod."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalekit_discovery.kubernetes.service_account import DEFAULT_URL, ServiceAccount, api_url
from scalekit_discovery.sources import SourceError
from tests.certificates import Authority
from tests.discovery.harness import config


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}, "https://10.96.0.1:443"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://[fd00::1]:6443"),
        ({}, DEFAULT_URL),
    ],
)
def test_the_url_is_that_of_the_cluster_unless_the_file_names_one(environ: dict[str, str], url: str) -> None:
    assert api_url(config(source="kubernetes"), environ) == url
    named = config(source="kubernetes", kubernetes="https://api.example:6443/")
    assert api_url(named, environ) == "https://api.example:6443"


def test_the_namespace_is_that_of_the_file_else_that_of_the_pod_else_default(tmp_path: Path) -> None:
    assert ServiceAccount(config(source="kubernetes"), tmp_path).namespace() == "default"
    (tmp_path / "namespace").write_text("shop")
    assert ServiceAccount(config(source="kubernetes"), tmp_path).namespace() == "shop"
    assert ServiceAccount(config(source="kubernetes", namespace="stock"), tmp_path).namespace() == "stock"


def test_the_token_is_read_again_for_each_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    account = ServiceAccount(config(source="kubernetes", token_file=str(token)), tmp_path)
    assert account.headers() == {"Authorization": "Bearer first"}
    token.write_text("second")
    assert account.headers() == {"Authorization": "Bearer second"}


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"\xff\xfe"])
def test_a_file_without_a_token_is_an_error_that_does_not_show_it(tmp_path: Path, content: bytes) -> None:
    token = tmp_path / "token"
    token.write_bytes(content)
    with pytest.raises(SourceError, match=str(token)) as caught:
        ServiceAccount(config(source="kubernetes", token_file=str(token)), tmp_path).headers()
    assert "two" not in str(caught.value)


def test_the_token_of_a_pod_is_not_sent_without_encryption_nor_beside_a_certificate(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    plain = config(source="kubernetes", token_file=str(token), kubernetes="http://127.0.0.1:8001")
    assert ServiceAccount(plain, tmp_path).headers() == {}
    files = Authority(tmp_path).issue("client")
    tls = {"cert_file": str(files.certificate), "key_file": str(files.key)}
    with_certificate = config(source="kubernetes", token_file=str(token), tls=tls)
    assert ServiceAccount(with_certificate, tmp_path).headers() == {}


def test_a_token_of_the_configuration_comes_first_and_an_empty_one_is_none() -> None:
    assert ServiceAccount(config(source="kubernetes", token="mine")).headers() == {"Authorization": "Bearer mine"}
    assert ServiceAccount(config(source="kubernetes", token="", token_file="")).headers() == {}


def test_the_ca_file_of_the_pod_is_trusted_and_loaded_again_after_it_was_replaced(tmp_path: Path) -> None:
    account = ServiceAccount(config(source="kubernetes"), tmp_path)
    (tmp_path / "ca.crt").write_bytes(Authority(tmp_path).file.read_bytes())
    first = account.ssl_context()
    assert len(first.get_ca_certs()) == 1
    assert account.ssl_context() is first
    (tmp_path / "other").mkdir()
    Authority(tmp_path / "other").file.replace(tmp_path / "ca.crt")
    assert account.ssl_context().get_ca_certs() != first.get_ca_certs()
