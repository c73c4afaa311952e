"""The slot of a key, as servers compute it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_redis.pending import pack
from scalekit_redis.slots import Shard, parse_cluster_slots, slot_of
from tests.servers import RedisCluster


@pytest.mark.parametrize(
    "key", ["123456789", "{user}:1", "{user}", "a{}b", "{}{b}", "a{b", "}a{b}c{d}", "{{b}}", "ключ"]
)
def test_the_slot_equals_that_of_the_server(cluster: RedisCluster, key: str) -> None:
    assert slot_of(key) == slot_of(key.encode()) == int(cluster.nodes[0].cli("CLUSTER", "KEYSLOT", key))


@given(
    st.one_of(st.text().filter(lambda text: text.isprintable()), st.binary(), st.integers(), st.floats(allow_nan=False))
)
def test_the_slot_is_that_of_the_packed_key(key: str | bytes | float) -> None:
    sent = pack(("GET", key)).partition(b"GET\r\n$")[2].partition(b"\r\n")[2][:-2]
    assert slot_of(key) == slot_of(sent)


def test_a_server_without_a_host_in_the_reply_is_the_queried_one() -> None:
    reply = [
        [0, 100, [b"", 7000, b"id"], [None, 7001, b"id"], [b"?", 7002, b"id"]],
        [101, 16383, [b"::1", 7003, b"id", [b"hostname", b"x"]]],
    ]
    assert parse_cluster_slots(reply, ("queried", 6379)) == [
        Shard(0, 100, ("queried", 7000), (("queried", 7001),)),
        Shard(101, 16383, ("::1", 7003), ()),
    ]
