from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from starlette.authentication import SimpleUser, UnauthenticatedUser

from scalekit_idempotency.keyed_request import fingerprint_of, parse_key, request_id, subject_of_request


def scope(**changes: Any) -> dict[str, Any]:
    return {"method": "POST", "path": "/orders", "query_string": b"", **changes}


def test_the_fingerprint_is_of_method_path_query_and_body() -> None:
    prints = [
        fingerprint_of(scope(), b"a"),
        fingerprint_of(scope(), b"b"),
        fingerprint_of(scope(method="PUT"), b"a"),
        fingerprint_of(scope(path="/other"), b"a"),
        fingerprint_of(scope(query_string=b"a"), b""),
        fingerprint_of(scope(path="/\udc80"), b"a"),
    ]
    assert all(one != other for one, other in combinations(prints, 2))
    assert fingerprint_of(scope(), b"a") == prints[0]


def test_the_id_is_of_subject_and_key() -> None:
    assert request_id("a", "bc") != request_id("ab", "c")
    assert request_id("a", "b") == request_id("a", "b")


def test_the_subject_is_the_user_or_else_the_digest_of_the_header() -> None:
    header, value = b"x-api-key", b"a secret"
    assert subject_of_request(scope(user=SimpleUser("ada")), header, value) == "0:ada"
    by_header = subject_of_request(scope(user=UnauthenticatedUser()), header, value)
    assert by_header.startswith("x-api-key:")
    assert "secret" not in by_header
    assert subject_of_request(scope(), header, b"another") != by_header
    assert subject_of_request(scope(), header, None) == ""
    assert subject_of_request(scope(), None, None) == ""


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (b"8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (b'  "a b" ; v=1', "a b"),
        (rb'"a\"b\\c"', r"a\"b\c".replace("\\", "", 1)),
        (b"KG5LxwFBepaKHyUD/+=:_.~", "KG5LxwFBepaKHyUD/+=:_.~"),
        (b"x" * 255, "x" * 255),
    ],
)
def test_a_key_is_a_string_or_bare(value: bytes, key: str) -> None:
    assert parse_key([value]) == key


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([b""], "is not a string"),
        ([b'""'], "has 0 characters"),
        ([b'"a'], "is not a string"),
        ([b'a"b'], "is not a string"),
        ([b"a b"], "is not a string"),
        ([b"a,b"], "is not a string"),
        ([b"a;b"], "is not a string"),
        ([rb'"a\b"'], "is not a string"),
        ([b'"\xe9"'], "is not a string"),
        ([b"x" * 256], "has 256 characters"),
        ([b'"' + b"x" * 256 + b'"'], "has 256 characters"),
        ([b"a", b"a"], "2 headers"),
    ],
)
def test_anything_else_is_refused(values: list[bytes], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_key(values)
