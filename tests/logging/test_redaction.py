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
from scalekit_logging.access_log import AccessLogFormatter
from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.redaction import Redactor, words_of
from scalekit_logging.serialization import ValueSerializer
from tests.logging.log_capture import Line, parse

CONFIGURED = 'conf"igured\\secret é'
REDACTION = Redactor(["iban", "Card-Number"], lambda text: text.replace(CONFIGURED, "***"))
LINES = JsonFormatter({}, REDACTION)

# 20 values that are hard to find or to delimit, in each of 10 places: 200 that must not come out.
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


def shape(event: object, fields: dict[str, Any]) -> Line:
    (line,) = parse(LINES.line(logging.INFO, "shop", event, fields, None))
    return line


def spellings(secret: str) -> set[str]:
    return {secret, secret.encode().decode("latin-1"), repr(secret)[1:-1], json.dumps(secret)[1:-1]}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", VALUES, ids=range(len(VALUES)))
def test_200_hostile_values_never_come_out(place: str, secret: str) -> None:
    if place == "bearer":  # no name tells where it ends: it ends where no token has such a character
        secret = "".join(each for each in secret if each not in ",;)}]")
    fields = PLACES[place](secret)
    (text,) = (str(fields[name]) for name in list(fields)[:1])
    for data in (
        LINES.line(logging.INFO, "shop", "happened", fields, None),
        LINES.line(logging.INFO, "shop", text if place not in ("field", "spelling", "nested") else "x", {}, None),
        LINES.line(logging.INFO, "shop", fields, {"extra": [fields]}, None),
    ):
        line = parse(data)[0]
        for spelling in spellings(secret):
            assert spelling not in data.decode()
            assert spelling not in str(line)


def test_what_is_not_secret_stays() -> None:
    line = shape(
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
    ("text", "clean"),
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
def test_texts_keep_what_is_around_a_secret(text: str, clean: str) -> None:
    redaction = Redactor(["iban", "Card-Number"], lambda text: text.replace("//bob:secret@", "//bob:***@"))
    assert redaction.clean(text) == clean


@given(name=st.text(max_size=300), value=st.text(max_size=300))
def test_cleaning_never_raises_and_never_changes_what_is_clean(name: str, value: str) -> None:
    once = REDACTION.clean(f"{name}password={value}")
    assert REDACTION.clean(once) == once
    REDACTION.is_secret(name)


@pytest.mark.parametrize(
    ("name", "words"), [("X-Api-Key", "x_api_key"), ("accessToken", "access_token"), ("API KEY", "api_key"), ("é", "")]
)
def test_names_have_one_spelling(name: str, words: str) -> None:
    assert words_of(name) == words


def test_secrets_of_the_configuration_are_masked_wherever_they_stand() -> None:
    line = shape(
        f"using {CONFIGURED}",
        {"value": [CONFIGURED], CONFIGURED: 1, "bytes": CONFIGURED.encode(), "secret": Secret("x"), "n": Secret("hid")},
    )
    assert "igured" not in str(line)
    assert line["event"] == "using ***"
    assert line["n"] == "**********"
    assert shape(f"only {CONFIGURED}", {})["event"] == "only ***"
    assert shape("x", {"url": Url("redis://:pw@db/")})["url"] == "redis://:***@db/"
    access = AccessLogFormatter(LINES)
    ending = (0.0, "a", "b", "GET", f"/{CONFIGURED}", "", 200, 0.1, 1, CONFIGURED, b"token=abc", ["c"])
    (data,) = access.shaped([ending])
    assert "igured" not in data.decode()
    assert parse(data)[0]["path"] == "/***"
    assert parse(data)[0]["user_agent"] == "token=***"


@pytest.mark.parametrize("before", range(0, 9000, 450))
def test_a_secret_that_a_cut_goes_through_does_not_come_out(before: int) -> None:
    secret = "0123456789" * 50
    redaction = Redactor((), lambda text: text.replace(secret, "***"))
    for text in ("a" * before + secret + "b" * 50_000, "b" * 50_000 + secret + "a" * before):
        assert "0123456789" not in ValueSerializer(redaction, 1000, 10).text(text)


def test_a_hostile_text_costs_no_more_than_its_length() -> None:
    for piece in ('password="', "token='\\", "eyJ", "bearer ", "basic aaaaaaaa", "cookie:\\'", '\\"', "secret\\\\"):
        REDACTION.clean(piece * (16_384 // len(piece)))
