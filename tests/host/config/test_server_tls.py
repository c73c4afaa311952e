from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.config.server_tls import ServerTls, load
from tests.certificates import Authority, CertificateFiles

BLOCK = "-----BEGIN {0}-----\n{1}\n-----END {0}-----\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> CertificateFiles:
    return authority.issue("shop")


def error_of(certificate: object, key: object = None, password: str | None = None) -> str:
    with pytest.raises(ValueError, match=r"_file: |_password: ") as caught:
        load(str(certificate), None if key is None else str(key), password)
    return str(caught.value)


def test_certificate_and_key_are_loaded_from_one_file_or_two(authority: Authority, files: CertificateFiles) -> None:
    load(str(files.certificate), str(files.key), None)
    both = authority.folder / "both.pem"
    both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    load(str(both), None, None)


def test_an_encrypted_key_needs_its_password(authority: Authority) -> None:
    encrypted = authority.issue("encrypted", "s3cret")
    load(str(encrypted.certificate), str(encrypted.key), "s3cret")
    assert "is encrypted; set key_password" in error_of(encrypted.certificate, encrypted.key)
    wrong = error_of(encrypted.certificate, encrypted.key, "wr0ng")
    assert f"key_file: '{encrypted.key}' cannot be decrypted; check key_password" == wrong
    assert "key_password: longer than 1024 bytes" in error_of(encrypted.certificate, encrypted.key, "é" * 600)


def test_a_mistake_names_key_path_and_remedy(authority: Authority, files: CertificateFiles) -> None:
    other = authority.issue("other")
    assert error_of(files.certificate, other.key) == (
        f"key_file: '{other.key}' is not the private key of the certificate in '{files.certificate}'; "
        "name the two that belong together"
    )
    missing = authority.folder / "missing.pem"
    assert error_of(missing, files.key) == (
        f"cert_file: cannot read '{missing}': No such file or directory; name a file that this user can read"
    )
    assert "key_file: cannot read" in error_of(files.certificate, missing)
    assert "it is not a file" in error_of(authority.folder, files.key)
    assert "has no PEM block of a private key; name its file in key_file" in error_of(files.certificate)
    assert "has no PEM block of a certificate; convert it to PEM" in error_of(files.key, files.key)


def test_a_pipe_does_not_block(authority: Authority, files: CertificateFiles) -> None:
    pipe = authority.folder / "pipe"
    os.mkfifo(pipe)
    assert "it is not a file" in error_of(pipe, files.key)


@given(st.binary(max_size=300), st.sampled_from(["CERTIFICATE", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]))
def test_any_content_is_an_error_and_never_another_exception(authority: Authority, content: bytes, kind: str) -> None:
    broken = authority.folder / "broken.pem"
    broken.write_bytes(BLOCK.format(kind, "").encode().replace(b"\n\n", b"\n" + content + b"\n"))
    good = authority.folder / "shop.pem"
    assert error_of(broken, broken, "password")
    if good.exists():
        assert error_of(good, broken, "password")


def test_client_certificates_and_their_authorities_belong_together(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("mutual")
    table = {"cert_file": str(files.certificate), "key_file": str(files.key)}
    for half in ({"client_certificates": "required"}, {"client_ca_file": str(authority.file)}):
        with pytest.raises(ValueError, match="client_certificates needs client_ca_file"):
            ServerTls.model_validate(table | half)
    with pytest.raises(ValueError, match=r"client_ca_file: .* has no PEM block of a certificate"):
        ServerTls.model_validate(table | {"client_certificates": "optional", "client_ca_file": str(files.key)})
    ServerTls.model_validate(table | {"client_certificates": "optional", "client_ca_file": str(authority.file)})
