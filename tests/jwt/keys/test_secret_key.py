"""HS256 secrets sign and verify like those of joserfc."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

from scalekit_jwt.keys.key_file import generate_key
from scalekit_jwt.keys.key_set import SigningKey

HS256 = JWSRegistry.algorithms["HS256"]
PUBLIC = generate_private_key(SECP256R1()).public_key()
FORMS = {
    "pem": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "der": PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "ssh": PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
}


@given(st.binary(min_size=32, max_size=80), st.binary(max_size=80))
def test_signatures_equal_those_of_the_library(secret: bytes, signed: bytes) -> None:
    library_key = OctKey.import_key(secret)
    key = SigningKey.load(secret, "HS256")
    signature = key.sign(signed)
    assert signature == HS256.sign(signed, library_key)
    assert key.verify(signed, signature)
    assert not key.verify(signed + b".", signature)
    assert not key.verify(signed, signature[:-1])
    assert key.kid == library_key.thumbprint()
    member: dict[str, Any] = {**library_key.as_dict(), "kid": ""}
    assert SigningKey.load(member, "HS256").sign(signed) == signature


@pytest.mark.parametrize("form", FORMS)
def test_a_public_key_in_any_format_is_refused_as_a_secret(form: str) -> None:
    with pytest.raises(ValueError, match="not a key of type oct"):
        SigningKey.load(FORMS[form], "HS256")
    with pytest.raises(ValueError, match="not a key of type oct"):
        SigningKey.load(b"beside it: " + FORMS["pem"], "HS256")


def test_a_secret_that_begins_like_der_is_accepted() -> None:
    assert SigningKey.load(bytes((0x30, 30)) + bytes(30), "HS256").private


@pytest.mark.parametrize("value", ["====", "a+/b" * 12, "a" * 45, "AB" * 21 + "AB=", 7, None, "é" * 43])
def test_a_secret_that_is_not_base64url_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a key of type oct"):
        SigningKey.load({**generate_key("HS256"), "k": value}, "HS256")


def test_key_ops_limit_a_secret() -> None:
    member = generate_key("HS256")
    only_verifies = SigningKey.load({**member, "key_ops": ["verify"]}, "HS256")
    only_signs = SigningKey.load({**member, "key_ops": ["sign"]}, "HS256")
    signature = only_signs.sign(b"text")
    assert only_verifies.verify(b"text", signature)
    assert not only_verifies.private
    assert not only_signs.verify(b"text", signature)
    with pytest.raises(ValueError, match="do not allow sign"):
        only_verifies.sign(b"text")
