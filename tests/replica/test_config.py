from __future__ import annotations

from typing import Any

import pytest

from scalekit import ConfigError, create_app
from scalekit.testing.conformance import bare_application

URL = "postgresql://shop:hidden@db-1.example/shop"
SECRET = "a" * 32


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"urls": [URL]}, "secret is required with urls, and every instance needs the same"),
        ({"urls": [URL], "secret": "short"}, "secret is shorter than 32 characters"),
        ({"urls": ["mysql://shop:hidden@db/shop"], "secret": SECRET}, "the scheme 'mysql' is none of postgresql"),
        ({"urls": ["postgresql:///shop"], "secret": SECRET}, "the URL has no host"),
        ({"urls": [URL, f"{URL}2"], "secret": SECRET}, "urls names a server twice"),
        ({"urls": [URL], "weights": [1, 2], "secret": SECRET}, "weights has 2 numbers for 1 urls"),
        ({"urls": [URL], "weights": [0], "secret": SECRET}, "greater than 0"),
        ({"token_ttl": "5s"}, "token_ttl 5s is too short"),
    ],
)
def test_a_config_error_names_the_remedy_and_no_secrets(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_app({"plugins": {"pool": {}, "replica": table}}, app=bare_application)
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert "short" not in str(caught.value).replace("shorter", "").replace("too short", "")


def test_replicas_need_a_pool() -> None:
    with pytest.raises(ConfigError, match=r"turn on \[plugins\.pool\]"):
        create_app({"plugins": {"replica": {}}}, app=bare_application)
