"""The output of the commands, and valid and invalid tables."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from scalekit import ConfigError, create_app
from scalekit.testing.conformance import bare_application
from scalekit_cluster_cache.config import ClusterCacheConfig
from scalekit_redis import parse_url
from tests.cluster_cache.conftest import process
from tests.command_line import scalekit
from tests.processes import HOST, wait_for
from tests.servers import RedisCluster


def run(folder: Path, toml: str, *words: str) -> CompletedProcess[str]:
    (folder / "scalekit.toml").write_text(toml)
    return scalekit("cluster-cache", *words, folder=folder)


def nodes(cluster: RedisCluster) -> str:
    listed = ",".join(f"{HOST}:{node.port}" for node in cluster.nodes[:2])
    return f'[plugins.cluster-cache]\nnodes = "{listed}"\n'


@pytest.mark.anyio
async def test_slots_prints_masters_keys_and_the_hottest_slots(cluster: RedisCluster, tmp_path: Path) -> None:
    async with process(cluster) as one:
        await one.cache.set_many({f"key:{number}": 1 for number in range(30)})
    for number in range(7):
        cluster.owner("crowd").cli("SET", f"{{crowd}}:{number}", 1)

    def all_shown() -> CompletedProcess[str] | None:  # a replica of a new cluster joins its master after a while
        shown = run(tmp_path, nodes(cluster), "slots", "--hottest", "1")
        return shown if all(f"{HOST}:{node.port}" in shown.stdout for node in cluster.nodes) else None

    shown = wait_for("all nodes", all_shown)
    assert shown is not None
    assert shown.returncode == 0, shown.stderr
    slot = cluster.owner("crowd").cli("CLUSTER", "KEYSLOT", "crowd")
    assert f"  slot {slot}: 7 keys\n" in shown.stdout
    assert shown.stdout.endswith("3 masters  16384 of 16384 slots\n")
    for node in cluster.nodes:
        if "role:master" in node.cli("INFO", "replication"):
            assert f"  {node.cli('DBSIZE')} keys  " in shown.stdout


@pytest.mark.anyio
async def test_purge_prints_the_number_of_purged_values(cluster: RedisCluster, tmp_path: Path) -> None:
    async with process(cluster) as one:
        for number in range(5):
            await one.cache.set(f"counted:{number}", 1, "1h", tags=["counted"])
        await one.cache.set("counted:other", 1, "1h", tags=["other"])
        outputs = [run(tmp_path, nodes(cluster), "purge", "--tag", "counted").stdout for _ in range(2)]
    assert outputs == ["purged 5 stored items\n", "purged nothing: no stored item has such a tag or path\n"]


def test_without_nodes_the_commands_print_the_remedy(tmp_path: Path) -> None:
    for words in (["slots"], ["purge", "--tag", "shop:7"]):
        shown = run(tmp_path, "[plugins.cluster-cache]\n", *words)
        assert shown.returncode == 1
        assert "Name a cluster" in shown.stderr


def test_the_error_of_an_unavailable_cluster_has_no_password(tmp_path: Path) -> None:
    shown = run(tmp_path, '[plugins.cluster-cache]\nnodes = "127.0.0.1:1"\npassword = "geheim"\n', "slots")
    assert shown.returncode == 1
    assert "is unavailable" in shown.stderr
    assert "geheim" not in shown.stdout + shown.stderr


def build(**table: Any) -> None:
    create_app({"plugins": {"cluster-cache": table}}, app=bare_application)


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ({"nodes": ["10.0.0.5:port"]}, "host:port"),
        ({"nodes": ["redis://10.0.0.5:6379"]}, "host:port"),
        ({"nodes": ["geheim@10.0.0.5"]}, "host:port"),
        ({"password": "geheim"}, "password is set but nodes is empty"),
        ({"read_from": "any"}, "read_from"),
        ({"nodes": ["a:1"], "tls": {"key_file": "a.pem"}}, "key_file needs cert_file"),
        ({"store_timeout": "0s"}, "store_timeout"),
        ({"prefix": "{a}"}, "prefix"),
    ],
)
def test_an_invalid_table_is_refused(table: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        build(**table)


def test_several_workers_require_nodes_or_per_worker() -> None:
    tables = {"server": {"workers": 2}, "plugins": {"cluster-cache": {}}}
    with pytest.raises(ConfigError, match=r"plugins\.cluster-cache\.nodes: .*2 workers.*per_worker = true"):
        create_app(tables, app=bare_application)
    create_app({**tables, "plugins": {"cluster-cache": {"per_worker": True}}}, app=bare_application)


def test_the_url_contains_all_options_of_the_table(tmp_path: Path) -> None:
    ca_file = tmp_path / "a b.pem"
    ca_file.touch()
    table = {
        "nodes": "[::1]:7000, b",
        "username": "me:@",
        "password": "s/e?c:r@t",
        "tls": {"ca_file": str(ca_file), "verify": "ca"},
    }
    config = ClusterCacheConfig.model_validate(table)
    address = parse_url(config.url)
    assert address.scheme == "rediss-cluster"
    assert address.hosts == (("::1", 7000), ("b", 6379))
    assert (address.username, address.password) == ("me:@", "s/e?c:r@t")
    assert dict(address.tls) == {"ssl_ca_certs": str(ca_file), "ssl_check_hostname": "false"}
    assert parse_url(config.url_of(("b", 1))).scheme == "rediss"
    assert "s/e" not in repr(config)


def test_without_nodes_the_http_cache_cannot_use_the_store() -> None:
    tables = {"plugins": {"cluster-cache": {}, "cache": {"url": "cluster-cache:"}}}
    with pytest.raises(ConfigError, match="cluster store"):
        create_app(tables, app=bare_application)
