"""No output shows a password, with any characters and in invalid URLs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scalekit.cli.main import group
from scalekit.config.password_mask import MASK, mask_passwords, mask_url
from scalekit.config.redaction import redactor
from scalekit.config.url import Url
from scalekit.config.url_syntax import split_url

FOLDER = Path(__file__).parent
SIGNS = "/?#@[]\\:%&;=+'\"{}$ \t~^|é€℀"
PASSWORDS = st.text(st.one_of(st.sampled_from(SIGNS), st.characters(codec="utf-8")), max_size=12).map("S3".__add__)
"""Passwords with a prefix that occurs in no message."""

ADDRESSES = [
    ("pool", "url", "postgresql://shop:{}@127.0.0.1:1/x"),
    ("pool", "urls", ["postgresql://shop:{}@127.0.0.1:1/x", "postgresql://shop:{}@127.0.0.1:2/x"]),
    ("pool", "url", "postgresql//shop:{}@127.0.0.1:1/x"),
    ("pool", "url", "postgresql:shop:{}@127.0.0.1:1/x"),
    ("pool", "url", "postgresql://shop:{}"),
    ("pool", "url", "postgresql://127.0.0.1/x?password={}"),
    ("pool", "url", ["postgresql://shop:{}@127.0.0.1:1/x"]),
    ("pool", "min_size", "postgresql://shop:{}@127.0.0.1:1/x"),
    ("replica", "urls", ["postgresql://shop:{}@127.0.0.1:1/x"]),
    ("queue", "url", "amqp://shop:{}@127.0.0.1:1/"),
    ("cache", "url", "redis://:{}@127.0.0.1:1"),
    ("cache", "url", "redis-cluster://shop:{}@127.0.0.1:1,127.0.0.1:2"),
    ("cache", "url", "unix://:{}@/run/redis.sock"),
    ("cluster-cache", "nodes", ["redis://:{}@127.0.0.1:1"]),
    ("cluster-cache", "nodes", "shop:{}@127.0.0.1:1,127.0.0.1:2"),
    ("ratelimit", "url", "rediss://:{}@127.0.0.1:1?ssl_ca_certs=x"),
    ("ratelimit", "url", "redis-sentinel://shop:{}@127.0.0.1:1,127.0.0.1:2/mymaster"),
    ("cache", "url", "redis-sentinel://127.0.0.1:1/mymaster?sentinel_username=shop&sentinel_password={}"),
    ("ratelimit", "url", "redis+sentinel://shop:{}@127.0.0.1:1/mymaster?sentinel_password={}"),
    ("discovery", "consul", "http://shop:{}@127.0.0.1:1"),
    ("discovery", "services", {"shop": ["http://shop:{}@127.0.0.1:1"]}),
    ("jwt", "redis_url", "redis://:{}@127.0.0.1:1"),
    ("jwt", "redis_url", "rediss-sentinel://:{}@127.0.0.1:1/mymaster?sentinel_password={}"),
    ("jwt", "issuer", "https://shop:{}@127.0.0.1:1"),
    ("jwt", "issuers", [{"issuer": "https://shop:{}@127.0.0.1:1", "audience": "x"}]),
    ("jwt", "issuers", [{"issuer": "x", "audience": "x", "jwks_url": "ftp://shop:{}@127.0.0.1:1"}]),
    ("pool", "url", "host=127.0.0.1 user=shop password={} dbname=x"),
    ("replica", "urls", ["Server=127.0.0.1;Password={};Database=x"]),
    ("cache", "url", "127.0.0.1:6379,password={}"),
]
"""All keys of plugins that accept a URL, and some that do not."""
NEEDED: dict[str, dict[str, object]] = {"replica": {"secret": "x" * 32}, "jwt": {"secret": "x" * 32}}


def filled(value: object, password: str) -> object:
    return json.loads(json.dumps(value).replace("{}", json.dumps(password)[1:-1]))


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def spellings(password: str) -> Iterator[str]:
    yield from (password, repr(password)[1:-1], json.dumps(password)[1:-1], quote(password), quote(password, safe=""))


def outputs(file: Path, *options: str) -> Iterator[str]:
    for command in (["check"], ["check", "--json"], ["config", "show"], ["plugins"]):
        yield CliRunner().invoke(group, [*command, "-c", str(file), *options]).output


def write(file: Path, plugin: str, key: str, value: object) -> None:
    tables: dict[str, dict[str, object]] = {"pool": {}} if plugin == "replica" else {}
    tables[plugin] = NEEDED.get(plugin, {}) | {key: value}
    lines = ['[app]\ntarget = "tests.host.config.test_mask:application"']
    for name, table in tables.items():
        lines += [f"[plugins.{name}]", *(f"{each} = {toml(table_value)}" for each, table_value in table.items())]
    file.write_text("\n".join(lines), encoding="utf-8")


async def application(scope: object, receive: object, send: object) -> None:
    """Do nothing."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("addresses") / "scalekit.toml"


@settings(max_examples=50)
@given(st.sampled_from(ADDRESSES), PASSWORDS, st.booleans())
@example(ADDRESSES[0], "/S3cret99", False)
@example(ADDRESSES[0], "S3\u2100", False)
@example(ADDRESSES[9], "S3\\x", False)
def test_no_command_shows_a_password(file: Path, place: tuple[str, str, object], password: str, encode: bool) -> None:
    plugin, key, value = place
    written = quote(password, safe="") if encode else password.replace("${", "$")
    write(file, plugin, key, filled(value, written))
    for output in outputs(file):
        for spelling in (*spellings(password), written):
            assert spelling not in output


PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEA/S3cret\n-----END PRIVATE KEY-----\n"
KEYS = [PEM, PEM.replace("\n", ""), PEM + "x" * 5000, '{"kty": "oct", "k": "S3cret", "kid": "a"}']
FILES: list[tuple[str, str, Callable[[str], object]]] = [
    ("jwt", "keys", lambda key: [key]),
    ("jwt", "key_file", lambda key: key),
    ("queue", "tls", lambda key: {"key_file": key}),
    ("queue", "tls", lambda key: {"ca_file": key}),
    ("discovery", "tls", lambda key: {"cert_file": key}),
    ("pool", "sslrootcert", lambda key: key),
    ("pool", "password_file", lambda key: key),
    ("cluster-cache", "tls", lambda key: {"key": key, "certificate": "x"}),
    ("cache", "url", lambda key: key),
]


@pytest.mark.parametrize("key", KEYS, ids=["pem", "one line", "too long for a name", "jwk"])
@pytest.mark.parametrize(("plugin", "name", "value"), FILES, ids=[f"{each[0]}.{each[1]}" for each in FILES])
def test_a_private_key_instead_of_its_file_is_not_shown(
    file: Path, plugin: str, name: str, value: Callable[[str], object], key: str
) -> None:
    write(file, plugin, name, value(key))
    for output in outputs(file):
        assert "S3cret" not in output
        assert "MIGHAgEA" not in output
        assert "Traceback" not in output


@pytest.mark.parametrize("name", ["sig", "X-Amz-Signature", "signature", "access_token", "apikey"])
def test_signatures_in_addresses_are_masked(name: str) -> None:
    assert str(Url(f"https://h/up?{name}=S3cret&design=a")) == f"https://h/up?{name}=***&design=a"


@settings(max_examples=25)
@given(st.sampled_from(ADDRESSES[:3]), PASSWORDS)
def test_passwords_of_command_line_and_environment_are_not_shown(
    file: Path, place: tuple[str, str, object], password: str
) -> None:
    assume("\0" not in password)
    plugin, key, value = place
    option = f"plugins.{plugin}.{key}={value if isinstance(value, str) else toml(value)}".replace("{}", password)
    file.write_text(f"[plugins.{plugin}]\n")
    texts = [*outputs(file, "--set", option)]
    write(file, plugin, key, "${AN_ADDRESS}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AN_ADDRESS", str(value).replace("{}", password))
        texts += outputs(file)
    for text in texts:
        for spelling in spellings(password):
            assert spelling not in text


@pytest.mark.parametrize("sign", [*"/?#@[]\\", "é", " "])
def test_an_ambiguous_url_is_rejected_with_the_remedy(sign: str) -> None:
    for text in (f"redis://shop:{sign}S3cret@h:1/0", f"redis://shop:1{sign}S3cret@h:1/0"):
        with pytest.raises(ValueError, match=r"percent-encode|as %20") as caught:
            Url(text)
        assert "S3cret" not in str(caught.value)
    assert Url(f"redis://shop:{quote(sign, safe='')}S3cret@h").parts.password == f"{sign}S3cret"


@pytest.mark.parametrize(
    "text", ["http://h/x@y", "http://h?x@y", "http://h#x@y", "redis:///S3cret@h", "redis:shop:S3cret@h"]
)
def test_an_at_sign_after_the_host_must_be_percent_encoded(text: str) -> None:
    with pytest.raises(ValueError, match="%40"):
        Url(text)
    Url("http://h/x%40y")


@given(PASSWORDS)
def test_all_parsers_interpret_accepted_urls_alike(password: str) -> None:
    from urllib.parse import unquote, urlsplit

    from yarl import URL

    text = f"amqp://shop:{password}@127.0.0.1:5672/x"
    try:
        parts = split_url(text)
    except ValueError:
        return
    assert (urlsplit(text).hostname, unquote(urlsplit(text).password or "")) == ("127.0.0.1", parts.password)
    assert (URL(text).host, URL(text).password) == ("127.0.0.1", parts.password)


@given(PASSWORDS)
def test_driver_errors_about_an_accepted_url_are_masked(password: str) -> None:
    from pydantic import BaseModel, ConfigDict

    class Sample(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        url: Url

    url = Url(f"redis://shop:{quote(password, safe='')}@127.0.0.1:1/0")
    redact = redactor([Sample(url=url)])
    for spelling in spellings(password):
        for said in (f"cannot reach redis://shop:{spelling}@127.0.0.1:1/0", f"wrong password '{spelling}'"):
            assert password not in redact(said)
            assert spelling not in redact(said)


@given(PASSWORDS.filter(lambda password: len(password.split()) == 1 and password == password.strip()))
def test_passwords_are_masked_in_the_middle_of_any_text(password: str) -> None:
    assert password not in mask_passwords(f"cannot reach redis://user:{password}@host:6379/0 at all")


@pytest.mark.parametrize("mask", [mask_passwords, mask_url])
def test_masking_takes_linear_time(mask: Callable[[str], str]) -> None:
    for piece in ("://a:", "?token", "?", "a://b:c@", "://", "@", "?token="):
        begun = time.perf_counter()
        mask(piece * 200_000)
        assert time.perf_counter() - begun < 30, piece  # quadratic would be hours


@pytest.mark.parametrize(
    "text",
    [
        "redis://h:1?db=1&password=a;S3cret",
        "redis://h:1?db=1&password=a;b=1;S3cret",
        "redis://h:1?password=a?S3cret",
        "redis://h:1?password=a?S3cret=1",
        "redis://h:1?db=1;password=S3cret",
        "http://h/?next=http://h/?token=S3cret",
        "http://S3cret99@h/",
        "https://S3cret99:@h/?page=2",
        "HTTPS://S3cret99@h:8000",
    ],
)
def test_a_secret_is_masked_to_its_end_however_clients_split_parameters(text: str) -> None:
    url = Url(text)
    for said in (str(url), repr(url), mask_url(text), mask_passwords(f"cannot reach '{text}'")):
        assert "S3cret" not in said


def test_client_errors_with_a_key_or_parameter_are_masked() -> None:
    from pydantic import BaseModel, ConfigDict

    class Sample(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        urls: list[Url]

    redact = redactor(
        [Sample(urls=[Url("https://S3cret99@h/"), Url("redis://h?password=a%2FS3cret;b"), Url("http://a@h")])]
    )
    assert redact("a key S3cret99, or a password a/S3cret;b") == "a key ***, or a password ***"


@pytest.mark.parametrize("secret", ["@S3cret", "a@S3cret", "a/@S3cret", "a@b@S3cret"])
def test_a_secret_parameter_with_an_at_sign_is_masked_completely(secret: str) -> None:
    for text in (f"redis://h:1?password={secret}", f"redis://u:p@h/0?db=1&passwd={secret}"):
        with pytest.raises(ValueError, match="%40") as caught:
            Url(text)
        assert "S3cret" not in str(caught.value)


def test_text_without_passwords_is_unchanged() -> None:
    text = (
        "GET http://127.0.0.1:8000/x?page=2;y=3 from ada@example.com: took 5 ms; see http://h/@ada and http://h?to=a@b"
    )
    assert mask_passwords(text) == text
    assert mask_passwords("postgresql://shop@h/x?a=1&token=b&c=2") == "postgresql://shop@h/x?a=1&token=***&c=2"
    assert mask_passwords("?token=a; then ?page=2") == "?token=***; then ?page=2"
    assert mask_url("http://127.0.0.1:8000/x?page=2") == "http://127.0.0.1:8000/x?page=2"
    assert mask_url("http://[::1]:8000") == "http://[::1]:8000"
    assert mask_url("shop.app:app") == "shop.app:app"
    assert MASK in mask_url("http://h/?api_key=1")
