"""Examples of RFC 7515 appendix A, RFC 7519 section 3.1, RFC 7520 section 4, RFC 8037 appendix A."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Any

import pytest

from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.jws import MAX_BYTES, parse_jws
from scalekit_jwt.keys.key_set import SigningKey
from tests.jwt.forged_tokens import encoded

HS256_KEY = {
    "kty": "oct",
    "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
}
HS256 = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
ES256_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
ES256 = (
    "eyJhbGciOiJFUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
RS256_KEY = {
    "kty": "RSA",
    "n": (
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS"
        "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2"
        "CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9"
        "gb54h4FRWyuXpoQ"
    ),
    "e": "AQAB",
}
RS256 = (
    "eyJhbGciOiJSUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUA"
    "r7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO-"
    "-xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_"
    "IoypGlUPQGe77Rw"
)
EDDSA_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
EDDSA = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
PAYLOAD = (
    "It\u2019s a dangerous business, Frodo, going out your door. You step onto the road, and if you don't keep your "
    "feet, there\u2019s no knowing where you might be swept off to."
)
COOKBOOK_HS256_KEY = {
    "kty": "oct",
    "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037",
    "use": "sig",
    "alg": "HS256",
    "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
}
COOKBOOK_HS256 = (
    "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9"
    f".{encoded(PAYLOAD)}.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
)


def parts(token: str) -> tuple[bytes, bytes]:
    signed, _, signature = token.rpartition(".")
    return signed.encode(), urlsafe_b64decode(signature + "=" * (-len(signature) % 4))


@pytest.mark.parametrize(
    ("member", "algorithm", "token"),
    [
        pytest.param(HS256_KEY, "HS256", HS256, id="RFC 7515 A.1, RFC 7519 3.1"),
        pytest.param(RS256_KEY, "RS256", RS256, id="RFC 7515 A.2"),
        pytest.param(ES256_KEY, "ES256", ES256, id="RFC 7515 A.3"),
        pytest.param(COOKBOOK_HS256_KEY, "HS256", COOKBOOK_HS256, id="RFC 7520 4.4"),
        pytest.param(EDDSA_KEY, "EdDSA", EDDSA, id="RFC 8037 A.4"),
    ],
)
def test_an_rfc_signature_is_valid_and_every_changed_bit_makes_it_invalid(
    member: dict[str, Any], algorithm: str, token: str
) -> None:
    key = SigningKey.load(member, algorithm)
    signed, signature = parts(token)
    assert key.verify(signed, signature)
    for place in range(len(signature)):
        changed = bytearray(signature)
        changed[place] ^= 1
        assert not key.verify(signed, bytes(changed))
    assert not key.verify(signed + b"A", signature)
    assert not key.verify(signed, b"")


@pytest.mark.parametrize("token", [HS256, RS256, ES256])
def test_the_claims_of_the_rfc_examples_are_parsed(token: str) -> None:
    unverified = parse_jws(token.encode())
    assert unverified.claims == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
    assert (unverified.signing_input, unverified.signature) == parts(token)


UNSECURED = f"eyJhbGciOiJub25lIn0.{HS256.split('.')[1]}."


@pytest.mark.parametrize("token", [UNSECURED, EDDSA, COOKBOOK_HS256], ids=["RFC 7515 A.5", "RFC 8037", "RFC 7520"])
def test_an_unsigned_token_or_other_payload_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken, match="malformed"):
        parse_jws(token.encode())


def test_a_token_of_max_bytes_is_accepted_and_a_longer_one_refused() -> None:
    header, signature = encoded({"alg": "HS256"}), encoded(b"x" * 32)
    available = MAX_BYTES - len(header) - len(signature) - 2
    claims = encoded({"x": "y" * (available * 3 // 4 - 9)})
    token = f"{header}.{claims}.{signature}"
    assert MAX_BYTES - 3 <= len(token) <= MAX_BYTES
    parse_jws(token.encode())
    with pytest.raises(InvalidToken, match="too_long"):
        parse_jws(b"A" * (MAX_BYTES + 1))
