"""Runs of a script that are begun in one turn of the loop go together; each has the reply that it has alone."""

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
from tests.lib.redis.poll import until, until_answered
from tests.lib.redis.proxy import proxy
from tests.lib.redis.test_metrics import value
from tests.lib.redis.test_retries import refusals
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
    """Return how often scripts were run, by digest and by source."""
    found = {"evalsha": 0, "eval": 0}
    for line in server.cli("INFO", "commandstats").splitlines():
        name, _, statistics = line.removeprefix("cmdstat_").partition(":calls=")
        if name in found:
            found[name] = int(statistics.partition(",")[0])
    return found


async def replies_of(pending: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """Return the replies, the code of each that is an error."""
    replies = await asyncio.gather(*pending, return_exceptions=True)
    return [f"error {reply.code}" if isinstance(reply, ReplyError) else reply for reply in replies]


async def test_many_runs_of_one_turn_are_one_command_and_few_are_commands_of_their_own(
    server: Server, redis: Redis
) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    assert await add.run("first") == 1
    await asyncio.gather(*[add.run(f"key:{number}") for number in range(MANY)])  # which teaches it
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


async def test_a_server_that_does_not_know_the_script_is_sent_its_source_once(server: Server, redis: Redis) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    for _ in range(2):
        server.cli("SCRIPT", "FLUSH")
        server.cli("CONFIG", "RESETSTAT")
        server.cli("FLUSHDB")
        assert await asyncio.gather(*[add.run(f"key:{place}") for place in range(MANY)]) == [1] * MANY
        assert runs(server) == {"evalsha": 1, "eval": 1}


@pytest.mark.parametrize("beside", [0, MANY])
async def test_a_reply_of_any_kind_is_what_it_is_alone(redis: Redis, beside: int) -> None:
    script = redis.prepare(REPLIES, ("argument",), timeout=10)
    keys = [f"{name}:{turn}" for turn in range(3) for name in NAMES]
    alone = [(await replies_of([script.run(key)]))[0] for key in keys]
    begun = [script.run(key) for key in keys]
    begun += [script.run(f"other:{number}") for number in range(beside)]
    assert (await replies_of(begun))[: len(keys)] == alone
    assert {reply for reply in alone if isinstance(reply, str)} == {"error OWN", "error ERR"}


async def test_one_that_fails_fails_alone(redis: Redis) -> None:
    await redis.call("LPUSH", "key:20", "no number")
    add = redis.prepare(ADD, (1,), timeout=10)
    replies = await replies_of([add.run(f"key:{number}") for number in range(MANY)])
    assert replies == [1] * 20 + ["error WRONGTYPE"] + [1] * (MANY - 21)


STEPS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2)), min_size=1, max_size=3 * MAX_COMBINED_RUNS)


@pytest.mark.parametrize("same_arguments", [True, False])
async def test_any_interleaving_is_as_if_each_had_gone_alone(server: Server, same_arguments: bool) -> None:
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
            together = await asyncio.gather(*[logs[which].run(key) for key, which in steps])
            await redis.call("FLUSHDB")
            return together, [await logs[which].run(key) for key, which in steps]

    await asyncio.to_thread(check)


async def test_arguments_stay_with_their_key_however_many_there_are(redis: Redis) -> None:
    echo = Script("local all = {KEYS[1]} for place = 1, #ARGV do all[place + 1] = ARGV[place] end return all")
    for number in range(4):
        first, second = (redis.prepare(echo, [f"{name}{place}" for place in range(number)]) for name in "ab")
        begun = [script.run(f"key:{place}") for place in range(MANY) for script in (first, second)]
        assert await asyncio.gather(*begun) == [
            [b"key:%d" % place, *[b"%b%d" % (name, argument) for argument in range(number)]]
            for place in range(MANY)
            for name in (b"a", b"b")
        ]


async def test_a_server_is_taught_over_the_next_connection_where_this_one_is_set_aside(
    server: Server, redis: Redis
) -> None:
    server.cli("SCRIPT", "FLUSH")
    node: Any = redis._router.node  # type: ignore[attr-defined]
    connection = node.connection
    begun = [redis.prepare(ADD, (1,), timeout=60).run("key") for _ in range(MANY)]
    begun[0].cancel()
    await asyncio.sleep(0)
    node.connection = None
    await until("what the server does not know", lambda: node.in_flight == MANY)
    node.connection = connection
    node._send_queued(connection)
    assert await asyncio.gather(*begun[1:]) == list(range(1, MANY)), "the first one was not cancelled"


@pytest.mark.parametrize("number", [3, MANY])
async def test_who_gives_up_disturbs_nobody(server: Server, connections: Connections, number: int) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        add = redis.prepare(ADD, (1,))
        await add.run("key")
        for written in (False, True):
            await redis.call("FLUSHDB")
            between.open.clear()
            begun = [add.run(f"key:{place}") for place in range(number)]
            if written:
                await asyncio.sleep(0)
            begun[0].cancel()
            begun[2].cancel()
            between.open.set()
            replies = await asyncio.gather(*begun, return_exceptions=True)
            assert [type(reply) for reply in replies[:3]] == [asyncio.CancelledError, int, asyncio.CancelledError]
            assert replies[3:] == [1] * (number - 3)
            assert await redis.get("key:0") == b"1", "it was sent all the same"


@pytest.mark.parametrize("number", [3, MANY])
async def test_each_has_its_own_deadline(server: Server, connections: Connections, number: int) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        server.cli("FLUSHALL")
        long, short = redis.prepare(ADD, (1,), timeout=60), redis.prepare(ADD, (1,), timeout=0.02)
        await long.run("key")
        between.open.clear()
        kept = [long.run("key") for _ in range(number)]
        hasty = [short.run("key") for _ in range(number)]
        kept += [long.run("key") for _ in range(number)]
        failures = await asyncio.gather(*hasty, return_exceptions=True)
        assert [error.kind for error in failures if isinstance(error, RedisUnavailable)] == ["timeout"] * number
        assert not any(each.done() for each in kept)
        between.open.set()
        replies = await asyncio.gather(*kept)
        assert replies == sorted(replies)
        assert replies[-1] == 1 + 3 * number, "those that were late were run all the same, in their order"


@pytest.mark.parametrize("number", [3, MANY])
async def test_all_fail_when_the_connection_is_lost(server: Server, connections: Connections, number: int) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        add = redis.prepare(ADD, (1,))
        await asyncio.gather(*[add.run("key") for _ in range(number)])
        between.open.clear()
        segments = between.segments
        begun = [add.run("key") for _ in range(number)]
        begun[0].cancel()
        await until("the command on its way", lambda: between.segments > segments)
        between.cut()
        between.open.set()
        failures = await asyncio.gather(*begun[1:], return_exceptions=True)
        assert [error.kind for error in failures if isinstance(error, RedisUnavailable)] == ["disconnected"] * (
            number - 1
        )
        await until_answered(lambda: redis.get("key"))


async def test_what_was_not_written_yet_goes_over_the_next_connection(server: Server, connections: Connections) -> None:
    async with connections.open(server.url, timeout=60) as redis:
        server.cli("FLUSHALL")
        add = redis.prepare(ADD, (1,))
        await add.run("key")
        begun = [add.run("key") for _ in range(MANY)]
        begun[0].cancel()
        redis._router.node.connection.close("before the loop turns")  # type: ignore[attr-defined]
        assert await asyncio.gather(*begun[1:]) == list(range(2, MANY + 1))


async def test_a_replica_runs_none_and_all_are_run_once_it_is_one_no_more(
    connections: Connections, telemetry: Telemetry
) -> None:
    with Server() as own:
        async with connections.open(own.url, timeout=60) as redis:
            add = redis.prepare(ADD, (1,))
            await asyncio.gather(*[add.run("key") for _ in range(MANY)])
            own.cli("REPLICAOF", HOST, 1)
            begun = [add.run("key") for _ in range(MANY)]
            await until("a refusal", lambda: ERRORS.name in telemetry.snapshot().families)
            assert not any(each.done() for each in begun)
            own.cli("REPLICAOF", "NO", "ONE")
            assert sorted(await asyncio.gather(*begun)) == list(range(MANY + 1, 2 * MANY + 1))


async def test_keys_that_a_user_may_have_are_run_beside_those_that_it_may_not(
    server: Server, connections: Connections
) -> None:
    server.cli("ACL", "SETUSER", "some", "on", ">secret", "~mine:*", "+@all")
    keys = [f"{whose}:{number}" for number in range(MANY) for whose in ("mine", "yours")]
    async with connections.open(f"redis://some:secret@{HOST}:{server.port}", timeout=10) as redis:
        add = redis.prepare(ADD, (0,))
        for _ in range(2):
            assert await replies_of([add.run(key) for key in keys]) == [0, "error NOPERM"] * MANY


async def test_keys_of_several_slots_go_alone_to_a_server_that_has_all_of_a_cluster(
    connections: Connections, telemetry: Telemetry
) -> None:
    with Server("--cluster-enabled", "yes") as own:
        own.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await until("the cluster", lambda: "cluster_state:ok" in own.cli("CLUSTER", "INFO"))
        async with connections.open(own.url, timeout=10) as redis:
            add = redis.prepare(ADD, (1,))
            rejected = []
            for turn in (1, 2, 3):
                assert await asyncio.gather(*[add.run(f"key:{number}") for number in range(MANY)]) == [turn] * MANY
                rejected.append(refusals(telemetry))
            assert rejected == [1 + MANY] * 3, "after the first turn nothing impossible is asked"


async def test_other_commands_of_the_turn_go_with_them_and_keep_their_replies(redis: Redis) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    await redis.set("value", "x")
    begun = []
    for number in range(MANY):
        begun += [add.run(f"key:{number}"), asyncio.ensure_future(redis.get("value"))]
    assert await asyncio.gather(*begun) == [1, b"x"] * MANY


async def test_what_is_one_command_counts_as_one_and_what_waits_as_all_that_it_is(
    server: Server, connections: Connections, telemetry: Telemetry
) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        name = between.url
        add = redis.prepare(ADD, (1,))
        server.cli("FLUSHALL")
        server.cli("LPUSH", "list", "x")
        await asyncio.gather(add.run("list"), *[add.run("key") for _ in range(MANY)], return_exceptions=True)
        before, errors = value(telemetry, COMMANDS.name, name), value(telemetry, ERRORS.name, name, "reply")
        calls = sum(value(telemetry, DURATIONS.name, name)[1])
        for number, commands in [(MANY, 1), (3, 3)]:
            between.open.clear()
            begun = [add.run("list" if place < 2 else "key") for place in range(number)]
            await asyncio.sleep(0)
            assert value(telemetry, IN_FLIGHT.name, name) == number
            between.open.set()
            await asyncio.gather(*begun, return_exceptions=True)
            assert value(telemetry, IN_FLIGHT.name, name) == 0
            assert value(telemetry, COMMANDS.name, name) == before + commands
            assert value(telemetry, ERRORS.name, name, "reply") == errors + 2
            assert sum(value(telemetry, DURATIONS.name, name)[1]) == calls + 1
            before, errors, calls = before + commands, errors + 2, calls + 1


async def test_a_key_that_is_no_text_is_refused_at_once_and_disturbs_nobody(redis: Redis) -> None:
    add = redis.prepare(ADD, (1,), timeout=10)
    begun = [add.run(f"key:{number}") for number in range(MANY)]
    with pytest.raises(UnicodeEncodeError):
        add.run("\udcff")
    assert await asyncio.gather(*begun) == [1] * MANY


async def test_a_script_that_cannot_be_part_of_another_is_refused(redis: Redis) -> None:
    with pytest.raises(ValueError, match="names an engine"):
        redis.prepare(Script("#!lua flags=no-writes\nreturn 1"), ())
