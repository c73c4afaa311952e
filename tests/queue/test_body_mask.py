from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import MASK, Redactor
from scalekit_queue.body_mask import CUT, MAX_BODY, MAX_SHOWN, describe_body

SECRET = "hunter2-9f8e7d"
REDACTOR = Redactor(redact_configured=lambda text: text.replace("configured-secret", MASK))


def describe(body: bytes) -> tuple[str, str]:
    return describe_body(body, REDACTOR)


@pytest.mark.parametrize(
    "content",
    [
        {"password": SECRET},
        {"a": [{"b": {"apiKey": {"deep": [SECRET]}}}]},
        {"tokens": 1, "refresh_token": [SECRET]},
        {"payload": orjson.dumps({"password": SECRET}).decode()},
        {"headers": [["Authorization", f"Bearer {SECRET}"]]},
        {"headers": [{"name": "x-api-key", "value": SECRET}]},
        {"note": f"password={SECRET}"},
        {"list": [0] * 10_000, "secret": SECRET},
        f"Authorization: Bearer {SECRET}",
    ],
)
def test_a_secret_of_a_json_body_is_masked_at_any_depth(content: object) -> None:
    kind, text = describe(orjson.dumps(content))
    assert kind == "JSON"
    assert SECRET not in text
    assert text


def test_values_without_secrets_are_shown_as_they_are() -> None:
    content = {"order": 7, "items": [{"name": "<b>tea</b>", "value": None}], "token": None, "ok": True}
    assert orjson.loads(describe(orjson.dumps(content))[1]) == content


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"", "text", ""),
        (b"plain", "text", "plain"),
        (b"a=configured-secret", "text", f"a={MASK}"),
        (f"password={SECRET}".encode(), "text", f"password={MASK}"),
        (b"\xff\xfe\x00", "binary", ""),
        (b"text\0text", "binary", ""),
        (gzip.compress(b"{}", mtime=0), "gzip", ""),
        (b'{"password": "' + SECRET.encode() + b'"' + b" " * MAX_BODY + b"}", "text, too large to show", ""),
    ],
)
def test_text_is_masked_and_binary_content_only_named(body: bytes, kind: str, text: str) -> None:
    assert describe(body) == (kind, text)


def test_a_large_body_is_cut() -> None:
    for body in (b"x" * MAX_BODY, orjson.dumps(["y" * 100] * 9_000)):
        _, text = describe(body)
        assert len(text) == MAX_SHOWN + 1
        assert text.endswith(CUT)


def test_a_deep_body_is_cut() -> None:
    assert CUT in describe(b"[" * 500 + b"]" * 500)[1]


def nested(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=20,
    )


@given(nested(st.none() | st.integers(-(2**53), 2**53) | st.just({"db_password": SECRET}) | st.text(max_size=9)))
def test_no_document_shows_the_value_of_a_secret_field(content: object) -> None:
    assert SECRET not in describe(orjson.dumps(content))[1]


@given(st.binary(max_size=200))
def test_every_body_has_a_description(body: bytes) -> None:
    kind, text = describe(body)
    assert kind
    assert len(text) <= MAX_SHOWN + 1
