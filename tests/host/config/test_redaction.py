from __future__ import annotations

from scalekit.config import Secret, Table, Url
from scalekit.config.redaction import redactor


class Issuer(Table):
    token: Secret


class Sample(Table):
    url: Url
    password: Secret | None = None
    issuers: tuple[Issuer, ...] = ()
    named: dict[str, Issuer] = {}


def test_all_secrets_of_all_tables_are_masked() -> None:
    table = Sample(
        url=Url("amqp://u:p%40ss@h"),
        password=Secret("hunter2"),
        issuers=(Issuer(token=Secret("tok-1")),),
        named={"a": Issuer(token=Secret("tok-1-longer"))},
    )
    redact = redactor([table])
    assert redact("p%40ss p@ss hunter2 tok-1 tok-1-longer") == "*** *** *** *** ***"


def test_passwords_in_unknown_urls_are_masked() -> None:
    assert redactor([])("cannot reach redis://:abc@h") == "cannot reach redis://:***@h"


def test_an_empty_secret_changes_nothing() -> None:
    assert redactor([Sample(url=Url("redis://h"), password=Secret(""))])("text") == "text"
