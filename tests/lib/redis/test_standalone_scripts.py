"""Runs of a script in one turn of the event loop are combined; each has the reply of a separate run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, Redis, RedisUnavailable, ReplyError, Script
from scalekit_redis.metrics import COMMANDS, DURATIONS, ERRORS, IN_FLIGHT
from scalekit_redis.standalone_scripts import MAX_COMBINED_RUNS, MIN_COMBINED_RUNS
from tests.lib.redis.conftest import node_of
from tests.lib.redis.poll import until, until_available
from tests.lib.redis.proxy import open_proxy
from tests.lib.redis.test_metrics import value
from tests.lib.redis.test_retries import error_replies
from tests.processes import HOST
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
LOG = Script("redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LRANGE', KEYS[1], 0, -1)")
MANY = 40
REPLIES = Script(
    """\
local name = string.match(KEYS[1], '%a+')
if name == 'none' then return nil end
if name == 'false' then return false end
if name == 'true' then return true end
if name == 'number' then return 7.9 end
if name == 'list' then return {1, 'two', {3}} end
if name == 'status' then return redis.status_reply('FINE') end
if name == 'error' then return redis.error_reply('OWN of the script') end
if name == 'lua' then return #nothing end
if name == 'command' then return redis.call('LPUSH', KEYS[1]) end
if name == 'caught' then return redis.pcall('LPUSH', KEYS[1]) end
return {KEYS[1], #KEYS, #ARGV, ARGV[1]}
"""
)
NAMES = ["none", "false", "true", "number", "list", "status", "error", "lua", "command", "caught", "other", ""]


def runs(server: Server) -> dict[str, int]:
    """Return the number of script runs by EVALSHA and by EVAL."""
    found = {"evalsha": 0, "eval": 0}
    for line in server.cli("INFO", "commandstats").splitlines():
        name, _, statistics = line.removeprefix("cmdstat_").partition(":calls=")
        if name in found:
            found[name] = int(statistics.partition(",")[0])
    return found


async def replies_of(pending: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """Return the replies, for an error its code."""
    replies = await asyncio.gather(*pending, return_exceptions=True)
    return [f"error {reply.code}" if isinstance(reply, ReplyError) else reply for reply in replies]


async def test_many_runs_of_one_turn_are_one_command_and_few_are_separate_commands(
    server: Server, redis: Redis
) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    assert await add.run("first") == 1
    await asyncio.gather(*[add.run(f"key:{number}") for number in range(MANY)])  # sends the source
    for number, commands in [
        (1, 1),
        (MIN_COMBINED_RUNS - 1, MIN_COMBINED_RUNS - 1),
        (MIN_COMBINED_RUNS, 1),
        (MAX_COMBINED_RUNS, 1),
        (3 * MAX_COMBINED_RUNS + 1, 4),
    ]:
        server.cli("CONFIG", "RESETSTAT")
        server.cli("FLUSHDB")
        replies = await asyncio.gather(*[add.run(f"key:{place}") for place in range(number)])
        assert replies == [1] * number
        assert runs(server) == {"evalsha": commands, "eval": 0}


async def test_the_source_of_combined_runs_is_sent_once(server: Server, redis: Redis) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    for _ in range(2):
        server.cli("SCRIPT", "FLUSH")
        server.cli("CONFIG", "RESETSTAT")
        server.cli("FLUSHDB")
        assert await asyncio.gather(*[add.run(f"key:{place}") for place in range(MANY)]) == [1] * MANY
        assert runs(server) == {"evalsha": 1, "eval": 1}


@pytest.mark.parametrize("beside", [0, MANY])
async def test_a_combined_run_has_the_reply_of_a_separate_run(redis: Redis, beside: int) -> None:
    script = redis.prepare(REPLIES, ("argument",), timeout=10)
    keys = [f"{name}:{turn}" for turn in range(3) for name in NAMES]
    alone = [(await replies_of([script.run(key)]))[0] for key in keys]
    pending = [script.run(key) for key in keys]
    pending += [script.run(f"other:{number}") for number in range(beside)]
    assert (await replies_of(pending))[: len(keys)] == alone
    assert {reply for reply in alone if isinstance(reply, str)} == {"error OWN", "error ERR"}


async def test_a_failed_run_fails_no_other(redis: Redis) -> None:
    await redis.call("LPUSH", "key:20", "no number")
    add = redis.prepare(ADD, (1,), timeout=10)
    replies = await replies_of([add.run(f"key:{number}") for number in range(MANY)])
    assert replies == [1] * 20 + ["error WRONGTYPE"] + [1] * (MANY - 21)


STEPS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2)), min_size=1, max_size=3 * MAX_COMBINED_RUNS)


@pytest.mark.parametrize("same_arguments", [True, False])
async def test_any_interleaving_has_the_replies_of_separate_runs(server: Server, same_arguments: bool) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=STEPS)
    def check(steps: list[tuple[str, int]]) -> None:
        if same_arguments:
            steps = [(key, 0) for key, _ in steps]
        together, alone = asyncio.run(both(steps))
        assert together == alone

    async def both(steps: list[tuple[str, int]]) -> tuple[list[Any], list[Any]]:
        async with Connections(Telemetry(10)).open(server.url, timeout=30) as redis:
            await redis.call("FLUSHDB")
            logs = [redis.prepare(LOG, (argument,)) for argument in "xyz"]
            together = await asyncio.gather(*[logs[index].run(key) for key, index in steps])
            await redis.call("FLUSHDB")
            return together, [await logs[index].run(key) for key, index in steps]

    await asyncio.to_thread(check)


async def test_each_key_has_its_own_arguments_whatever_their_number(redis: Redis) -> None:
    echo = Script("local all = {KEYS[1]} for place = 1, #ARGV do all[place + 1] = ARGV[place] end return all")
    for number in range(4):
        first, second = (redis.prepare(echo, [f"{name}{place}" for place in range(number)]) for name in "ab")
        pending = [script.run(f"key:{place}") for place in range(MANY) for script in (first, second)]
        assert await asyncio.gather(*pending) == [
            [b"key:%d" % place, *[b"%b%d" % (name, argument) for argument in range(number)]]
            for place in range(MANY)
            for name in (b"a", b"b")
        ]


async def test_the_source_is_sent_on_the_next_connection_when_this_one_is_detached(
    server: Server, redis: Redis
) -> None:
    server.cli("SCRIPT", "FLUSH")
    node = node_of(redis)
    connection = node.connection
    assert connection is not None
    pending = [redis.prepare(ADD, (1,), timeout=60).run("key") for _ in range(MANY)]
    pending[0].cancel()
    await asyncio.sleep(0)
    node.connection = None
    await until("the queued EVAL", lambda: node.in_flight == MANY)
    node.connection = connection
    node._send_queued(connection)
    assert await asyncio.gather(*pending[1:]) == list(range(1, MANY)), "the first one was not cancelled"


@pytest.mark.parametrize("number", [3, MANY])
async def test_a_cancelled_run_affects_no_other(server: Server, connections: Connections, number: int) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        add = redis.prepare(ADD, (1,))
        await add.run("key")
        for written in (False, True):
            await redis.call("FLUSHDB")
            proxy.open.clear()
            pending = [add.run(f"key:{place}") for place in range(number)]
            if written:
                await asyncio.sleep(0)
            pending[0].cancel()
            pending[2].cancel()
            proxy.open.set()
            replies = await asyncio.gather(*pending, return_exceptions=True)
            assert [type(reply) for reply in replies[:3]] == [asyncio.CancelledError, int, asyncio.CancelledError]
            assert replies[3:] == [1] * (number - 3)
            assert await redis.get("key:0") == b"1", "a cancelled run is sent"


@pytest.mark.parametrize("number", [3, MANY])
async def test_each_run_has_its_own_deadline(server: Server, connections: Connections, number: int) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        server.cli("FLUSHALL")
        long, short = redis.prepare(ADD, (1,), timeout=60), redis.prepare(ADD, (1,), timeout=0.02)
        await long.run("key")
        proxy.open.clear()
        patient = [long.run("key") for _ in range(number)]
        impatient = [short.run("key") for _ in range(number)]
        patient += [long.run("key") for _ in range(number)]
        failures = await asyncio.gather(*impatient, return_exceptions=True)
        assert [error.kind for error in failures if isinstance(error, RedisUnavailable)] == ["timeout"] * number
        assert not any(each.done() for each in patient)
        proxy.open.set()
        replies = await asyncio.gather(*patient)
        assert replies == sorted(replies)
        assert replies[-1] == 1 + 3 * number, "late runs are executed, in their order"


@pytest.mark.parametrize("number", [3, MANY])
async def test_all_runs_fail_when_the_connection_is_lost(server: Server, connections: Connections, number: int) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        add = redis.prepare(ADD, (1,))
        await asyncio.gather(*[add.run("key") for _ in range(number)])
        proxy.open.clear()
        segments = proxy.segments
        pending = [add.run("key") for _ in range(number)]
        pending[0].cancel()
        await until("the command to be sent", lambda: proxy.segments > segments)
        proxy.cut()
        proxy.open.set()
        failures = await asyncio.gather(*pending[1:], return_exceptions=True)
        assert [error.kind for error in failures if isinstance(error, RedisUnavailable)] == ["disconnected"] * (
            number - 1
        )
        await until_available(lambda: redis.get("key"))


async def test_unwritten_runs_are_sent_on_the_next_connection(server: Server, connections: Connections) -> None:
    async with connections.open(server.url, timeout=60) as redis:
        server.cli("FLUSHALL")
        add = redis.prepare(ADD, (1,))
        await add.run("key")
        pending = [add.run("key") for _ in range(MANY)]
        pending[0].cancel()
        connection = node_of(redis).connection
        assert connection is not None
        connection.close("before the write")
        assert await asyncio.gather(*pending[1:]) == list(range(2, MANY + 1))


async def test_runs_that_a_replica_rejects_run_after_its_promotion(
    connections: Connections, telemetry: Telemetry
) -> None:
    with Server() as own_server:
        async with connections.open(own_server.url, timeout=60) as redis:
            add = redis.prepare(ADD, (1,))
            await asyncio.gather(*[add.run("key") for _ in range(MANY)])
            own_server.cli("REPLICAOF", HOST, 1)
            pending = [add.run("key") for _ in range(MANY)]
            await until("a rejection", lambda: ERRORS.name in telemetry.snapshot().families)
            assert not any(each.done() for each in pending)
            own_server.cli("REPLICAOF", "NO", "ONE")
            assert sorted(await asyncio.gather(*pending)) == list(range(MANY + 1, 2 * MANY + 1))


async def test_runs_with_permitted_keys_succeed_beside_runs_without_permission(
    server: Server, connections: Connections
) -> None:
    server.cli("ACL", "SETUSER", "some", "on", ">secret", "~mine:*", "+@all")
    keys = [f"{owner}:{number}" for number in range(MANY) for owner in ("mine", "yours")]
    async with connections.open(f"redis://some:secret@{HOST}:{server.port}", timeout=10) as redis:
        add = redis.prepare(ADD, (0,))
        for _ in range(2):
            assert await replies_of([add.run(key) for key in keys]) == [0, "error NOPERM"] * MANY


async def test_runs_with_keys_of_several_slots_are_separate_on_a_one_server_cluster(
    connections: Connections, telemetry: Telemetry
) -> None:
    with Server("--cluster-enabled", "yes") as own_server:
        own_server.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await until("the cluster", lambda: "cluster_state:ok" in own_server.cli("CLUSTER", "INFO"))
        async with connections.open(own_server.url, timeout=10) as redis:
            add = redis.prepare(ADD, (1,))
            rejected = []
            for turn in (1, 2, 3):
                assert await asyncio.gather(*[add.run(f"key:{number}") for number in range(MANY)]) == [turn] * MANY
                rejected.append(error_replies(telemetry))
            assert rejected == [1 + MANY] * 3, "after the first turn keys are not combined"


async def test_other_commands_of_the_turn_have_their_own_replies(redis: Redis) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    await redis.set("value", "x")
    pending = []
    for number in range(MANY):
        pending += [add.run(f"key:{number}"), asyncio.ensure_future(redis.get("value"))]
    assert await asyncio.gather(*pending) == [1, b"x"] * MANY


async def test_metrics_count_commands_and_each_run_in_flight(
    server: Server, connections: Connections, telemetry: Telemetry
) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        name = proxy.url
        add = redis.prepare(ADD, (1,))
        server.cli("FLUSHALL")
        server.cli("LPUSH", "list", "x")
        await asyncio.gather(add.run("list"), *[add.run("key") for _ in range(MANY)], return_exceptions=True)
        before, errors = value(telemetry, COMMANDS.name, name), value(telemetry, ERRORS.name, name, "reply")
        calls = sum(value(telemetry, DURATIONS.name, name)[1])
        for number, commands in [(MANY, 1), (3, 3)]:
            proxy.open.clear()
            pending = [add.run("list" if place < 2 else "key") for place in range(number)]
            await asyncio.sleep(0)
            assert value(telemetry, IN_FLIGHT.name, name) == number
            proxy.open.set()
            await asyncio.gather(*pending, return_exceptions=True)
            assert value(telemetry, IN_FLIGHT.name, name) == 0
            assert value(telemetry, COMMANDS.name, name) == before + commands
            assert value(telemetry, ERRORS.name, name, "reply") == errors + 2
            assert sum(value(telemetry, DURATIONS.name, name)[1]) == calls + 1
            before, errors, calls = before + commands, errors + 2, calls + 1


async def test_a_key_that_cannot_be_encoded_is_rejected_and_affects_no_other_run(redis: Redis) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    pending = [add.run(f"key:{number}") for number in range(MANY)]
    with pytest.raises(UnicodeEncodeError):
        add.run("\udcff")
    assert await asyncio.gather(*pending) == [1] * MANY


async def test_a_script_that_names_an_engine_cannot_be_prepared(redis: Redis) -> None:
    with pytest.raises(ValueError, match="names an engine"):
        redis.prepare(Script("#!lua flags=no-writes\nreturn 1"), ())
