from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from scalekit import Secret, Url
from scalekit.config.text_redaction import Redactor, normalize
from scalekit_logging.access_log import AccessLogFormatter
from scalekit_logging.json_formatter import JsonFormatter
from tests.logging.log_capture import Line, parse

CONFIGURED = 'conf"igured\\secret é'
REDACTOR = Redactor(["iban", "Card-Number"], lambda text: text.replace(CONFIGURED, "***"))
FORMATTER = JsonFormatter({}, REDACTOR)

# 20 values that are hard to detect or delimit, in each of 10 places: none of the 200 may appear in a line.
VALUES = [
    "hunter2",
    "correcthorse,battery;staple",
    "a&b=c?d#e",
    "p@ss:w/rd",
    "brackets)}]>",
    "percent%s%n%%",
    "dollar$(id)`id`",
    "back\\slash",
    "dots...and---dashes",
    "ünïcödé-ß-漢字",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "dXNlcjpwYXNzd29yZA==",
    "x" * 3000,
    "0123456789",
    "-----KEY-----",
    "null\\u0000",
    "***hunter***",
    "Bearer-like",
    "sk_live_51H8xyzABCDEF",
    "emoji\U0001f511key",
]
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "field": lambda secret: {"password": secret},
    "spelling": lambda secret: {"X-Api-Key": secret, "accessToken": secret, "db_passwd": secret, "Iban": secret},
    "nested": lambda secret: {"request": {"items": [{"client_secret": secret}]}},
    "headers": lambda secret: {"headers": [(b"host", b"x"), (b"authorization", b"Bearer " + secret.encode())]},
    "mapping": lambda secret: {"headers": Headers({"cookie": f"session={secret}".encode().decode("latin-1")})},
    "assignment": lambda secret: {"message": f"login failed with password={secret} for bob"},
    "json": lambda secret: {"body": json.dumps({"user": "bob", "refresh_token": secret}, ensure_ascii=False)},
    "header line": lambda secret: {"text": f"GET / HTTP/1.1\r\nAuthorization: Bearer {secret}\r\nHost: x"},
    "repr": lambda secret: {"text": f"User(name='bob', password={secret!r}, age=3)"},
    "bearer": lambda secret: {"message": f"sent bearer {secret}"},
}


def format_event(event: object, fields: dict[str, Any]) -> Line:
    (line,) = parse(FORMATTER.format(logging.INFO, "shop", event, fields, None))
    return line


def spellings(secret: str) -> set[str]:
    return {secret, secret.encode().decode("latin-1"), repr(secret)[1:-1], json.dumps(secret)[1:-1]}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", VALUES, ids=range(len(VALUES)))
def test_hostile_secrets_are_masked_everywhere(place: str, secret: str) -> None:
    if place == "bearer":  # without a name, a token ends at the first character that tokens cannot contain
        secret = "".join(each for each in secret if each not in ",;)}]")
    fields = PLACES[place](secret)
    (text,) = (str(fields[name]) for name in list(fields)[:1])
    for data in (
        FORMATTER.format(logging.INFO, "shop", "happened", fields, None),
        FORMATTER.format(logging.INFO, "shop", text if place not in ("field", "spelling", "nested") else "x", {}, None),
        FORMATTER.format(logging.INFO, "shop", fields, {"extra": [fields]}, None),
    ):
        line = parse(data)[0]
        for spelling in spellings(secret):
            assert spelling not in data.decode()
            assert spelling not in str(line)


def test_other_values_are_not_masked() -> None:
    line = format_event(
        "the basic idea of a keyboard: 7 tokens, basic functionality",
        {
            "max_tokens": 4096,
            "token": None,
            "keyboard": "qwerty",
            "monkey": "banana",
            "path": "/api/data",
            "author": "bob",
            "secretary": "alice",
            "address": "https://example.org/?page=2",
        },
    )
    assert line["event"] == "the basic idea of a keyboard: 7 tokens, basic functionality"
    del line["timestamp"], line["level"], line["event"], line["logger"]
    assert line == {
        "max_tokens": 4096,
        "token": None,
        "keyboard": "qwerty",
        "monkey": "banana",
        "path": "/api/data",
        "author": "bob",
        "secretary": "alice",
        "address": "https://example.org/?page=2",
    }


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("password=abc user=bob", "password=*** user=bob"),
        ('{"password": "a b", "user": "bob"}', '{"password": "***", "user": "bob"}'),
        ("{'api-key': 'a\\'b', 'n': 1}", "{'api-key': '***', 'n': 1}"),
        ('{\\"token\\": \\"a b\\", \\"n\\": 1}', '{\\"token\\": \\"***\\", \\"n\\": 1}'),
        ("[(b'authorization', b'Basic abc')]", "[(b'authorization', b'***')]"),
        ("Cookie: a=1; b=2\nHost: x", "Cookie: ***\nHost: x"),
        ("card number: 4111 and iban=DE1", "card number: *** and iban=***"),
        ("postgresql://bob:secret@db/shop", "postgresql://bob:***@db/shop"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ('token="never closed and more', 'token="***"'),
    ],
)
def test_only_the_secret_of_a_text_is_masked(text: str, redacted: str) -> None:
    redactor = Redactor(["iban", "Card-Number"], lambda text: text.replace("//bob:secret@", "//bob:***@"))
    assert redactor.redact(text) == redacted


@given(name=st.text(max_size=300), value=st.text(max_size=300))
def test_redaction_never_raises_and_is_idempotent(name: str, value: str) -> None:
    redacted = REDACTOR.redact(f"{name}password={value}")
    assert REDACTOR.redact(redacted) == redacted
    REDACTOR.is_secret(name)


@pytest.mark.parametrize(
    ("name", "normalized"),
    [("X-Api-Key", "x_api_key"), ("accessToken", "access_token"), ("API KEY", "api_key"), ("é", "")],
)
def test_names_are_normalized(name: str, normalized: str) -> None:
    assert normalize(name) == normalized


def test_secrets_of_the_configuration_are_masked_everywhere() -> None:
    line = format_event(
        f"using {CONFIGURED}",
        {"value": [CONFIGURED], CONFIGURED: 1, "bytes": CONFIGURED.encode(), "secret": Secret("x"), "n": Secret("hid")},
    )
    assert "igured" not in str(line)
    assert line["event"] == "using ***"
    assert line["n"] == "**********"
    assert format_event(f"only {CONFIGURED}", {})["event"] == "only ***"
    assert format_event("x", {"url": Url("redis://:pw@db/")})["url"] == "redis://:***@db/"
    access = AccessLogFormatter(FORMATTER)
    record = (0.0, "a", "b", "GET", f"/{CONFIGURED}", "", 200, 0.1, 1, CONFIGURED, b"token=abc", ["c"], "")
    (data,) = access.format([record])
    assert "igured" not in data.decode()
    assert parse(data)[0]["path"] == "/***"
    assert parse(data)[0]["user_agent"] == "token=***"


def test_redaction_is_linear_in_the_length_of_a_hostile_text() -> None:
    for piece in ('password="', "token='\\", "eyJ", "bearer ", "basic aaaaaaaa", "cookie:\\'", '\\"', "secret\\\\"):
        REDACTOR.redact(piece * (16_384 // len(piece)))
