"""Texts of errors, as the servers and libraries have them, keep names and lose values."""

from __future__ import annotations

import json

import pytest

from scalekit.config.database_values import mask_database_values

ERRORS = {
    'duplicate key value violates unique constraint "u"\nDETAIL:  Key (email)=(secret) already exists.': (
        'duplicate key value violates unique constraint "u"\nDETAIL:  Key (email)=(***) already exists.'
    ),
    "DETAIL:  Key (lower(name), b)=(se)cret, secret\nsecret) is not present in table t.": (
        "DETAIL:  Key (lower(name), b)=(***) is not present in table t."
    ),
    "Key (a)=(secret) already exists.": "Key (a)=(***) already exists.",
    "DETAIL:  Failing row contains (1, secret, null).": "DETAIL:  Failing row contains (***).",
    "DETAIL:  Failing row contains (1, a (b). secret, null).": "DETAIL:  Failing row contains (***).",
    "DETAIL:  Key (room, time)=(1, [secret,b)) conflicts with existing key (room, time)=(1, [secret). secret,c)).": (
        "DETAIL:  Key (room, time)=(***) conflicts with existing key (room, time)=(***)."
    ),
    "x\nDETAIL:  Schlüssel »(a)=(secret)« existiert bereits.\nHINT:  y": "x\nDETAIL:  ***\nHINT:  y",
    "DETAIL:  Process 1 waits for ShareLock on transaction 2.": (
        "DETAIL:  Process 1 waits for ShareLock on transaction 2."
    ),
    "invalid input for query argument $1: 'secret' (expected a datetime instance, got 'str')": (
        "invalid input for query argument $1: ***"
    ),
    "invalid input for query argument $12 in element #3 of executemany() sequence: b'secret' (x)": (
        "invalid input for query argument $12 in element #3 of executemany() sequence: ***"
    ),
    'invalid input syntax for type integer: "secret"': 'invalid input syntax for type integer: "***"',
    'invalid input syntax for type uuid: "sec"ret\nsecret"\nCONTEXT: x': (
        'invalid input syntax for type uuid: "***"\nCONTEXT: x'
    ),
    'invalid input value for enum mood: "secret"': 'invalid input value for enum mood: "***"',
    'date/time field value out of range: "secret"': 'date/time field value out of range: "***"',
    'malformed array literal: "secret"': 'malformed array literal: "***"',
    "invalid input syntax for type date: \"secret\"\nLINE 1: SELECT 1, 'secret'::date\n                   ^": (
        'invalid input syntax for type date: "***"\nLINE 1: ***\n                   ^'
    ),
    'value "secret" is out of range for type integer': 'value "***" is out of range for type integer',
    'syntax error at or near "FORM"': 'syntax error at or near "FORM"',
    'unterminated quoted string at or near "\'secret"': 'unterminated quoted string at or near "***"',
    'unrecognized token: "\'secret"': 'unrecognized token: "***"',
    "invalid UUID 'secret': length must be between 32..36": "invalid UUID '***': length must be between 32..36",
    "'secret' is not among the defined enum values. Enum name: a": (
        "*** is not among the defined enum values. Enum name: a"
    ),
    "'secret' does not appear to be an IPv4 or IPv6 network": "*** does not appear to be an IPv4 or IPv6 network",
    "Couldn't parse datetime string 'secret'": "Couldn't parse datetime string '***'",
    "Duplicate entry 'secret' for key 'users.email'": "Duplicate entry '***' for key 'users.email'",
    "Incorrect integer value: 'secret' for column 'a'": "Incorrect integer value: '***' for column 'a'",
    "syntax to use near ''secret' 1' at line 1": "syntax to use near '***' at line 1",
    "[SQL: INSERT INTO t VALUES ('secret', %s)]\n[parameters: ('secret',)]\n(Background on this error at: x)": (
        "[SQL: INSERT INTO t VALUES (?, %s)]\n[parameters: ***]\n(Background on this error at: x)"
    ),
}


@pytest.mark.parametrize("text", ERRORS)
def test_values_are_masked_and_names_stay(text: str) -> None:
    assert mask_database_values(text) == ERRORS[text]
    assert mask_database_values(ERRORS[text]) == ERRORS[text]


@pytest.mark.parametrize("text", [text for text in ERRORS if "secret" in text])
def test_values_are_masked_within_tracebacks_json_and_representations(text: str) -> None:
    inside = f"Traceback (most recent call last):\n  File x\nError: {text}\n\nThe above exception was the cause\nEnd: z"
    masked = mask_database_values(inside)
    assert "secret" not in masked
    assert masked.endswith("The above exception was the cause\nEnd: z")
    assert "secret" not in mask_database_values(json.dumps({"exception": text, "next": 1}))
    assert "secret" not in mask_database_values(repr(ValueError(text)))


def test_other_texts_stay() -> None:
    for text in ("", "GET /items 200", "invalid literal", "Key (a) of the map", "[SQL: SELECT 1", "a near 'b' c"):
        assert mask_database_values(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "DETAIL:  ",
        "Key (a)=(",
        'invalid input syntax for type a: "',
        "[SQL: '",
        "'",
        "Key (",
        "key (a)=(",
        ").",
        "LINE 1: ",
    ],
)
def test_hostile_texts_are_masked_in_linear_time(part: str) -> None:
    mask_database_values("DETAIL:  " + part * (100_000 // len(part)))  # would take minutes in quadratic time
