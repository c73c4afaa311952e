"""A file is described where the variables of its service are not set."""

from __future__ import annotations

import pytest

from scalekit.errors import ConfigError
from tests.host.deploy.conftest import Describe, describe_sample


def test_the_production_file_of_the_sample_needs_no_variable() -> None:
    service = describe_sample("production.toml")
    assert {each.name for each in service.variables if each.is_required} == {
        "AMQP_URL", "CONSUL_HTTP_ADDR", "DATABASE_URL", "JWT_SECRET", "REDIS_CLUSTER_NODES", "REDIS_URL",
        "REPLICA_SECRET", "REPLICA_URL",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "toml", "kind"),
    [
        ("SHOP_DATABASE", "[plugins.pool]\nurl", "postgresql"),
        ("THING", "[plugins.queue]\nurl", "rabbitmq"),
        ("THING", "[plugins.cache]\nurl", "redis-cluster"),
        ("CACHE_URL", "[plugins.cache]\nurl", "redis"),
        ("THING", "[plugins.pool]\nmax_size", ""),
        ("THING", "[server]\ngraceful_timeout", ""),
        ("THING", "[server]\ntrusted_proxies", ""),
    ],
)
def test_a_placeholder_fits_its_key_whatever_the_name(name: str, toml: str, kind: str, describe: Describe) -> None:
    value = f'["${{{name}}}"]' if toml.endswith("proxies") else f'"${{{name}}}"'
    service = describe(f'[app]\ntarget = "a:b"\n{toml} = {value}\n')
    assert [server.kind for server in service.servers if server.variables] == ([kind] if kind else [])


def test_a_variable_that_is_set_decides(describe: Describe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", "sqlite:///shop.db")
    assert describe('[plugins.pool]\nurl = "${DB}"\n').servers == ()


def test_a_variable_without_a_fitting_placeholder_is_named(describe: Describe) -> None:
    with pytest.raises(
        ConfigError, match=r"not found; CA had placeholders: set it as in the environment of the service"
    ):
        describe('[plugins.pool]\nurl = "postgresql://db/shop"\nsslrootcert = "${CA}"\n')


def test_a_mistake_beside_missing_variables_is_reported_alone(describe: Describe) -> None:
    with pytest.raises(ConfigError) as raised:
        describe('[server]\nprot = 1\n[plugins.pool]\nurl = "${DB}"\n')
    assert [problem.key for problem in raised.value.problems] == ["server.prot"]


def test_a_mistake_of_a_table_with_missing_variables_is_reported(describe: Describe) -> None:
    with pytest.raises(ConfigError, match="min_size 9 is more than max_size 1"):
        describe('[plugins.pool]\nurl = "${DB}"\nmin_size = 9\nmax_size = 1\n')
