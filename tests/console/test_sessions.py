from __future__ import annotations

import asyncio

import pytest

from scalekit import Secret, Server, Unavailable
from scalekit.contracts import OverrideChange
from scalekit.overrides import ProcessOverrideGroup, ProcessOverrides
from scalekit_console.sessions import GROUP, MAX_SESSIONS, OperatorSessions

pytestmark = pytest.mark.anyio


def new_group() -> ProcessOverrideGroup:
    return ProcessOverrides().group(GROUP)


def sessions_of(group: ProcessOverrideGroup, token: str = "token", ttl: float = 60.0) -> OperatorSessions:
    return OperatorSessions(Server(operator_token=Secret(token)), ttl, group)


async def test_a_session_ends_in_all_workers_when_it_is_ended() -> None:
    group = new_group()
    one, other = sessions_of(group), sessions_of(group)
    cookie, second = await one.start(), await one.start()
    assert other.exists(cookie)
    await other.end(cookie)
    assert not one.exists(cookie)
    assert one.exists(second)


async def test_a_session_ends_after_its_time() -> None:
    sessions = sessions_of(new_group(), ttl=0.05)
    cookie = await sessions.start()
    async with asyncio.timeout(10):
        while sessions.exists(cookie):
            await asyncio.sleep(0.01)


async def test_a_session_ends_with_the_token() -> None:
    group = new_group()
    cookie = await sessions_of(group).start()
    assert not sessions_of(group, "another").exists(cookie)
    assert not OperatorSessions(Server(), 60.0, group).exists(cookie)


async def test_the_service_knows_no_cookies() -> None:
    group = new_group()
    cookie = await sessions_of(group).start()
    assert cookie not in repr(group.active)


@pytest.mark.parametrize("cookie", ["", "a", "\udce9", "a" * 4000])
async def test_a_cookie_without_a_session_changes_nothing(cookie: str) -> None:
    group = new_group()
    sessions = sessions_of(group)
    await sessions.start()
    assert not sessions.exists(cookie)
    await sessions.end(cookie)
    assert len(group.active) == 1


async def test_sessions_are_bounded() -> None:
    group = new_group()
    sessions = sessions_of(group)
    cookies = [await sessions.start() for _ in range(MAX_SESSIONS + 1)]
    assert len(group.active) == MAX_SESSIONS
    assert [sessions.exists(each) for each in cookies[:2]] == [False, True]
    assert sessions.exists(cookies[-1])


async def test_a_session_needs_the_supervisor() -> None:
    class Silent(ProcessOverrideGroup):
        async def change(self, change: OverrideChange) -> None:
            raise TimeoutError

    with pytest.raises(Unavailable, match="the supervisor does not respond"):
        await sessions_of(Silent(GROUP, ProcessOverrides())).start()
