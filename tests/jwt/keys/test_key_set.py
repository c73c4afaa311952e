"""Keys in files, their suitability for an algorithm, and key sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import JWKRegistry

from scalekit import ConfigError, StartError
from scalekit_jwt.config import JwtConfig
from scalekit_jwt.factory import load_keys
from scalekit_jwt.keys.key_file import generate_key
from scalekit_jwt.keys.key_set import KEY_TYPES, KeySet, SigningKey
from tests.jwt.forged_tokens import member_of
from tests.jwt.harness import published_keys, service, write_key

pytestmark = pytest.mark.anyio
ASYMMETRIC = ["RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"]


@pytest.mark.parametrize("form", ["pem", "jwk"])
@pytest.mark.parametrize("algorithm", ASYMMETRIC)
async def test_keys_are_loaded_from_files_and_all_of_them_verify(algorithm: str, form: str, tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        member = member_of(algorithm, number)
        pair: Any = JWKRegistry.import_key(member)
        content = pair.as_pem(private=True) if form == "pem" else json.dumps(member).encode()
        paths.append(write_key(tmp_path / f"{number}.{form}", content))
    async with service({"keys": paths, "algorithm": algorithm}) as client:
        await client.login("ada")
        assert (await client.api()).status == 200
        assert len(await published_keys(client)) == 2
    async with service({"keys": paths[::-1], "algorithm": algorithm}) as later:
        later.token, later.cookie = client.token, client.cookie
        assert (await later.api()).status == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a key of type EC"),
        (b"{}", "not a key of type EC"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a key of type EC"),
        (json.dumps(member_of("RS256", 0)).encode(), "not a key of type EC"),
        (JWKRegistry.import_key(generate_key("ES256")).as_pem(private=False), "no private part"),  # type: ignore[union-attr]  # an asymmetric key
    ],
)
async def test_a_file_without_a_key_is_named_in_the_error(content: bytes, message: str, tmp_path: Path) -> None:
    path = write_key(tmp_path / "bad.pem", content)
    with pytest.raises(ConfigError, match=message) as caught:
        async with service({"keys": [path], "algorithm": "ES256"}):
            pass
    assert "bad.pem" in str(caught.value)


def test_a_file_removed_before_loading_is_named_in_the_error(tmp_path: Path) -> None:
    paths = [write_key(tmp_path / f"{number}.jwk", json.dumps(generate_key("ES256")).encode()) for number in range(2)]
    config = JwtConfig(keys=tuple(paths), algorithm="ES256", issuer="shop")
    (tmp_path / "1.jwk").unlink()
    with pytest.raises(StartError, match=f"^{paths[1]}: No such file or directory$"):
        load_keys(config)


@pytest.mark.parametrize(
    ("member", "algorithm", "message"),
    [
        ({**generate_key("HS256"), "k": "c2hvcnQgYnV0IG5vdCB2ZXJ5"}, "HS256", "too short"),
        ({**generate_key("ES256"), "use": "enc"}, "ES256", "not for signatures"),
        ({**generate_key("ES256"), "alg": "ES384"}, "ES256", "not for signatures"),
        ({**generate_key("ES256"), "use": None, "key_ops": ["encrypt"]}, "ES256", "not a key|key_ops|not for"),
        (generate_key("ES256"), "HS256", "not a key of type oct"),
        (generate_key("HS256"), "ES256", "not a key of type EC"),
        (generate_key("EdDSA"), "ES256", "not a key of type EC"),
    ],
)
def test_an_unsuitable_key_is_refused(member: dict[str, object], algorithm: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SigningKey.load(member, algorithm)


def test_a_key_set_has_one_key_type_and_unique_kids() -> None:
    one, other = generate_key("ES256"), generate_key("HS256")
    with pytest.raises(ValueError, match="same kid"):
        KeySet([SigningKey.load(one, "ES256"), SigningKey.load(one, "ES256")])
    with pytest.raises(ValueError, match="several types"):
        KeySet([SigningKey.load(one, "ES256"), SigningKey.load(other, "HS256")])


@pytest.mark.parametrize(("claimed", "real"), [("oct", "RS256"), ("EC", "RS256"), ("RSA", "ES256"), ("OKP", "ES256")])
def test_a_key_that_declares_another_type_is_refused(claimed: str, real: str) -> None:
    for algorithm, kind in KEY_TYPES.items():
        if kind in (claimed, KEY_TYPES[real]):
            with pytest.raises(ValueError, match=r"not a key of type|too short|needs a key on"):
                SigningKey.load({**member_of(real, 0), "kty": claimed, "alg": algorithm}, algorithm)


def test_a_key_set_refuses_two_keys_with_one_kid_and_algorithm() -> None:
    one, other = (SigningKey.load({**generate_key("ES256"), "kid": "a"}, "ES256") for _ in range(2))
    with pytest.raises(ValueError, match="same kid"):
        KeySet([one, other])
