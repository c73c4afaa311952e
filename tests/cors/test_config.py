"""What the table accepts and refuses."""

from __future__ import annotations

import pytest

from scalekit import ConfigError
from tests.cors.configuration import read_config


@pytest.mark.parametrize(
    "origin",
    ["https://shop.example", "http://localhost:3000", "https://*.shop.example", "http://[::1]:80", "app://shop", "*"],
)
def test_origins(origin: str) -> None:
    if origin == "http://[::1]:80":
        with pytest.raises(ConfigError, match="default port"):
            read_config(origins=[origin])
        return
    assert read_config(origins=[origin]).origins == (origin,)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("https://shop.example/", "without a path"),
        ("shop.example", "expected scheme"),
        ("https://Shop.example", "lower case"),
        ("null", "expected scheme"),
        ("https://shop.*", "expected scheme"),
        ("https://shop.example:443", r"default port: write 'https://shop.example'"),
        ("http://shop.example:80", "default port"),
        ("https://a.example https://b.example", "expected scheme"),
        ("https://user@shop.example", "expected scheme"),
    ],
)
def test_what_is_no_origin_is_refused_with_the_remedy(origin: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(origins=[origin])


def test_credentials_for_every_origin_are_refused() -> None:
    with pytest.raises(ConfigError, match="name the origins"):
        read_config(origins=["*"], credentials=True)
    with pytest.raises(ConfigError, match="name the origins"):
        read_config(origins=["https://shop.example"], policies=[{"path": "/a", "origins": ["*"], "credentials": True}])


def test_every_exposed_header_with_credentials_is_refused() -> None:
    shop = {"origins": ["https://shop.example"]}
    with pytest.raises(ConfigError, match=r"name of a header: name the headers"):
        read_config(**shop, credentials=True, expose=["*"])
    with pytest.raises(ConfigError, match="name the headers"):
        read_config(**shop, credentials=True, policies=[{"path": "/a", "expose": ["X-A", "*"]}])
    assert read_config(**shop, expose=["*"]).expose == ("*",)
    assert read_config(**shop, credentials=True, headers=["*"]).headers == ("*",)  # preflights name each header


def test_a_table_without_origins_is_refused() -> None:
    with pytest.raises(ConfigError, match="origins is empty"):
        read_config()
    with pytest.raises(ConfigError, match="origins is empty"):
        read_config(policies=[{"path": "/a"}])
    assert read_config(policies=[{"path": "/a", "origins": ["*"]}]).origins == ()


def test_a_policy_inherits_the_keys_that_it_leaves_out() -> None:
    config = read_config(
        origins=["https://shop.example"],
        credentials=True,
        max_age="1h",
        policies=[{"path": "/admin/**", "origins": ["https://admin.example"]}, {"path": "/a", "credentials": False}],
    )
    admin, other = (policy.completed_by(config) for policy in config.policies)
    assert (admin.origins, admin.credentials) == (("https://admin.example",), True)
    assert admin.max_age == 3600.0
    assert (other.origins, other.credentials) == (("https://shop.example",), False)
