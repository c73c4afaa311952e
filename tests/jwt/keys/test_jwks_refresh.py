"""JWK sets of real issuers: missing algorithms, unusable keys, ambiguous kids, other audience claims."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import ConfigError
from scalekit.telemetry import Telemetry
from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.keys.jwks_refresh import RemoteJwks, parse_jwks
from scalekit_jwt.keys.key_set import KEY_TYPES
from scalekit_jwt.metrics import JwtMetrics
from tests.jwt.forged_tokens import TokenForge, key_of, member_of
from tests.jwt.harness import service
from tests.jwt.issuer_server import IssuerServer

pytestmark = pytest.mark.anyio
METRICS = JwtMetrics(Telemetry(100))
ASYMMETRIC = [algorithm for algorithm in KEY_TYPES if algorithm != "HS256"]
RSA = [algorithm for algorithm in ASYMMETRIC if KEY_TYPES[algorithm] == "RSA"]
EC = [algorithm for algorithm in ASYMMETRIC if KEY_TYPES[algorithm] == "EC"]


@pytest.fixture
def issuer() -> Iterator[IssuerServer]:
    with IssuerServer().serving() as issuer:
        yield issuer


def public(algorithm: str, **changes: Any) -> dict[str, Any]:
    """Return the public key for *algorithm* with *changes*; None removes a member."""
    member = {**key_of(algorithm, 0).public(), **changes}
    return {name: value for name, value in member.items() if value is not None}


@pytest.mark.parametrize("declares_algorithm", [True, False])
@pytest.mark.parametrize("algorithm", ASYMMETRIC)
async def test_a_token_of_every_algorithm_is_accepted(
    issuer: IssuerServer, algorithm: str, declares_algorithm: bool
) -> None:
    forge = TokenForge(algorithm, issuer.url, "shop")
    member = {**forge.key.public(), "alg": algorithm if declares_algorithm else None}
    issuer.documents["/keys"] = {"keys": [{name: value for name, value in member.items() if value}]}
    async with service(issuer.table(algorithms=[algorithm])) as client:
        client.token = forge.token()
        assert (await client.api()).status == 200
        client.token = forge.token()[:-8] + "AAAAAAAA"
        assert (await client.api()).status == 401


def test_a_key_without_algorithm_serves_all_of_its_type_and_curve() -> None:
    keys, rejected = parse_jwks({"keys": [public("RS256", alg=None, kid="r")]}, RSA)
    assert [keys.find({"kid": "r", "alg": each}, 0).algorithm for each in RSA] == RSA
    assert [keys.find({"alg": each}, 0).algorithm for each in RSA] == RSA, "without kid the only key is used"
    document = {"keys": [public(each, alg=None, kid=each) for each in EC]}
    keys, more = parse_jwks(document, EC)
    for curve in EC:
        for algorithm in EC:
            if curve == algorithm:
                assert keys.find({"kid": curve, "alg": algorithm}, 0).algorithm == algorithm
            else:
                with pytest.raises(InvalidToken, match="algorithm"):
                    keys.find({"kid": curve, "alg": algorithm}, 0)
    assert rejected == more == []


def test_a_key_serves_only_its_own_and_the_allowed_algorithms() -> None:
    keys, _ = parse_jwks({"keys": [public("RS256", alg=None, kid="r")]}, ["RS256", "PS512"])
    for algorithm in ("RS512", "HS256", "none", "ES256", "", None, ["RS256"], {"RS256": 1}):
        with pytest.raises(InvalidToken, match="algorithm"):
            keys.find({"kid": "r", "alg": algorithm}, 0)
    keys, _ = parse_jwks({"keys": [public("RS256", kid="r")]}, RSA)
    with pytest.raises(InvalidToken, match="algorithm"):
        keys.find({"kid": "r", "alg": "PS256"}, 0)


UNUSABLE_KEYS: list[dict[str, Any]] = [
    public("RS256", n="AQAB", kid="unusable"),
    public("RS256", n="!", kid="unusable"),
    public("RS256", e=None, kid="unusable"),
    public("RS256", n=7, kid="unusable"),
    public("RS256", n=["a"], kid="unusable"),
    public("RS256", kid=7),
    public("RS256", kid=["unusable"]),
    public("RS256", key_ops=7, kid="unusable"),
    public("RS256", key_ops=["encrypt"], kid="unusable"),
    public("RS256", key_ops=[["verify"]], kid="unusable"),
    public("RS256", exp="never", kid="unusable"),
]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("unusable", UNUSABLE_KEYS, ids=[str(number) for number in range(len(UNUSABLE_KEYS))])
async def test_one_unusable_key_hides_no_other_and_is_logged_once(
    unusable: dict[str, Any], index: int, caplog: pytest.LogCaptureFixture
) -> None:
    suitable = TokenForge("RS256").key.public()
    document = {"keys": [unusable, suitable] if not index else [suitable, unusable]}

    async def fetch() -> dict[str, Any]:
        return document

    keys = RemoteJwks(
        "https://a.example", ["RS256"], fetch, JwtMetrics(Telemetry(100)), refresh_interval=3600, min_interval=0.0
    )
    with caplog.at_level(logging.WARNING, "scalekit.jwt"):
        for _ in range(3):
            await keys.fetch()
    assert keys.current.find({"kid": suitable["kid"], "alg": "RS256"}, 0).kid == suitable["kid"]
    (logged,) = [record.getMessage() for record in caplog.records]
    assert f"keys of https://a.example ignored: keys[{index}]: " in logged
    assert not keys.last_error


def test_keys_for_other_uses_are_ignored_without_a_warning() -> None:
    others = [public("RS256", use="enc", kid="a"), public("ES256", kid="b"), public("RS512", kid="c"), {}, 1, None, []]
    keys, rejected = parse_jwks({"keys": [*others, public("PS256")]}, ["RS256", "PS256"])
    assert len(keys.keys) == 1
    assert rejected == []


def test_different_keys_with_one_kid_are_ignored_and_duplicates_are_merged() -> None:
    one, other, third = (TokenForge("RS256").key.public() for _ in range(3))
    for keys_of_it in ([one, {**other, "kid": one["kid"]}, third], [third, {**other, "kid": one["kid"]}, one]):
        keys, rejected = parse_jwks({"keys": keys_of_it}, ["RS256"])
        assert [key.kid for key in keys.keys] == [third["kid"]]
        assert rejected == [f"different keys have the kid {one['kid']!r}"]
        with pytest.raises(UnknownKey):
            keys.find({"kid": one["kid"], "alg": "RS256"}, 0)
    keys, rejected = parse_jwks({"keys": [one, one, third]}, ["RS256"])
    assert [key.kid for key in keys.keys] == [one["kid"], third["kid"]]
    assert rejected == []


def test_keys_of_two_curves_may_share_a_kid() -> None:
    keys, rejected = parse_jwks({"keys": [public("ES256", kid="a"), public("ES384", kid="a")]}, EC)
    assert [keys.find({"kid": "a", "alg": each}, 0).algorithm for each in ("ES256", "ES384")] == ["ES256", "ES384"]
    assert rejected == []


ANY_VALUE = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.booleans()


@given(st.dictionaries(st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "n", "e", "exp", "crv"]), ANY_VALUE))
def test_any_malformed_key_leaves_the_others_usable(changes: dict[str, Any]) -> None:
    suitable = public("RS256", kid="suitable")
    keys, _ = parse_jwks({"keys": [{**public("RS256", kid="odd"), **changes}, suitable]}, RSA)
    if changes.get("kid") != "suitable":
        assert keys.find({"kid": "suitable", "alg": "RS256"}, 0).kid == "suitable"


CLAIMS: list[tuple[dict[str, Any], int]] = [
    ({"client_id": "shop", "aud": None}, 200),
    ({"client_id": ["other", "shop"], "aud": None}, 200),
    ({"client_id": "shop", "aud": "shop"}, 200),
    ({"client_id": "shop", "aud": "other"}, 401),
    ({"client_id": "other", "aud": "shop"}, 401),
    ({"client_id": "other", "aud": None}, 401),
    ({"client_id": None, "aud": "shop"}, 401),
    ({"client_id": None, "aud": None}, 401),
    ({"client_id": 7, "aud": None}, 401),
    ({"client_id": "Shop", "aud": None}, 401),
]


@pytest.mark.parametrize(("claims", "status"), CLAIMS)
async def test_audience_claim_names_the_claim_with_the_audience(
    issuer: IssuerServer, claims: dict[str, Any], status: int
) -> None:
    async with service(issuer.table(audience_claim="client_id", token_types=[""])) as client:
        client.token = issuer.forge.token(
            header={"alg": "RS256", "kid": issuer.forge.key.kid},
            claims={name: value for name, value in {**issuer.forge.claims, **claims}.items() if value is not None},
        )
        assert (await client.api()).status == status


async def test_a_token_without_aud_is_refused_by_default(issuer: IssuerServer) -> None:
    async with service(issuer.table()) as client:
        client.token = issuer.forge.with_claims(aud=None, client_id="shop")
        assert (await client.api()).status == 401


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kty": "oct", "alg": "none"}, "unsupported alg 'none'"),
        ({"kty": "dsa", "alg": "none"}, "unsupported kty 'dsa'"),
        ({"kty": None}, "unsupported kty None"),
        ({"kty": "oct"}, "not a key of type EC, which ES256 needs: its kty is 'oct'"),
    ],
)
async def test_an_unsupported_key_type_is_reported_first(changes: dict[str, Any], message: str, tmp_path: Any) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(orjson.dumps({"keys": [{**member_of("ES256", 0), **changes}]}))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=message):
        async with service({"key_file": str(path), "algorithm": "ES256"}):
            pass
