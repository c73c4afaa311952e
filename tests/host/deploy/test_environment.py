"""Variables of a file, and secrets that it contains."""

from __future__ import annotations

import pytest

from scalekit.deploy import EnvironmentVariable
from scalekit.errors import ConfigError
from tests.host.deploy.conftest import Describe, describe_sample

SECRET = "0123456789abcdef0123456789abcdef"


def secret_names(*variables: EnvironmentVariable) -> set[str]:
    return {each.name for each in variables if each.is_secret}


def test_urls_of_servers_and_secrets_are_secret_and_ports_are_not() -> None:
    service = describe_sample("production.toml")
    names = {each.name for each in service.variables}
    assert secret_names(*service.variables) == names - {
        "PORT", "NGINX_PORT", "NGINX_DIRECTORY", "REDIS_CLUSTER_NODES", "CONSUL_HTTP_ADDR",
    }  # fmt: skip


def test_a_variable_has_its_default_and_all_its_keys(describe: Describe) -> None:
    service = describe('[server]\nport = "${P:-8080}"\nmanagement_address = "127.0.0.1:1${P:-8080}"\n')
    assert service.variables == (EnvironmentVariable("P", "8080", False, ("server.port", "server.management_address")),)


def test_a_variable_is_required_when_one_reference_has_no_default(describe: Describe) -> None:
    (variable,) = describe('[app]\nname = "${N:-a}"\n[plugins.logging]\nservice = "${N}"\n').variables
    assert variable.is_required


@pytest.mark.parametrize(
    ("toml", "keys"),
    [
        (f'[plugins.jwt]\nsecret = "{SECRET}"\n', ("plugins.jwt.secret",)),
        (f'[plugins.jwt]\nsecret = "${{S:-{SECRET}}}"\n', ("plugins.jwt.secret",)),
        ('[plugins.pool]\nurl = "postgresql://shop:pw@db/shop"\n', ("plugins.pool.url",)),
        ('[plugins.pool]\nurl = "${D:-postgresql://shop:pw@db/shop}"\n', ("plugins.pool.url",)),
        ('[plugins.pool]\nurl = "postgresql://shop:${PW}@db/shop"\n', ()),
        ('[plugins.pool]\nurl = "postgresql://shop:${PW:-pw}@db/shop"\n', ("plugins.pool.url",)),
        ('[plugins.pool]\nurl = "postgresql://${U:-shop}@${H:-db}/shop"\n', ()),
        ('[plugins.pool]\nurl = "postgresql://shop@db/shop"\npassword = "${PW}"\n', ()),
        ('[plugins.replica]\nurls = ["postgresql://a:pw@r/b"]\nsecret = "${S}"\n', ("plugins.replica.urls[0]",)),
        ('[server]\noperator_token = "t0ken"\n', ("server.operator_token",)),
        ('[plugins.ratelimit]\nurl = "redis://:pw@r"\n', ("plugins.ratelimit.url",)),
        ('[app]\nname = "password"\n', ()),
    ],
)
def test_a_secret_in_the_file_is_found(toml: str, keys: tuple[str, ...], describe: Describe) -> None:
    service = describe(toml)
    assert service.literal_secrets == keys
    if keys:
        with pytest.raises(ConfigError, match="the secret is in the file"):
            service.configuration()
    else:
        assert service.configuration() == {"scalekit.toml": toml}


@pytest.mark.parametrize("default", ["postgresql://shop:pw@db/shop", "postgresql://db/shop?password=pw"])
def test_a_default_with_a_password_is_none(default: str, describe: Describe) -> None:
    (variable,) = describe(f'[plugins.pool]\nurl = "${{D:-{default}}}"\n').variables
    assert (variable.default, variable.is_secret) == (None, True)


@pytest.mark.parametrize(
    ("table", "override"),
    [
        ("jwt", f"plugins.jwt.secret={SECRET}"),
        ("pool", f"plugins.pool.url=postgresql://shop:${{PW:-{SECRET}}}@db/shop"),
    ],
)
def test_a_secret_of_an_override_is_refused(table: str, override: str, describe: Describe) -> None:
    with pytest.raises(ConfigError, match=rf"--set: plugins\.{table}\.\w+: the secret of --set") as raised:
        describe(f"[plugins.{table}]\n", override)
    assert SECRET not in str(raised.value)
