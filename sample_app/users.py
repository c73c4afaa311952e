"""List active users and import users."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import joinedload
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sample_app.cache_policy import SHARED_HEADERS, TTL, purge
from sample_app.tables import Profile, User
from sample_app.validation import NO_NUL, parse_body
from scalekit.contracts import DATABASE, SESSION
from scalekit.http.problem import ProblemResponse
from scalekit_cache import cached

NEWEST_ACTIVE = select(User).where(User.active).order_by(User.id.desc()).limit(100).options(joinedload(User.profile))
ADD_NEW = {
    "postgresql": postgresql.insert(User).on_conflict_do_nothing().returning(User),
    "sqlite": sqlite.insert(User).on_conflict_do_nothing().returning(User),
}
"""Inserts the users whose email is new, by dialect: ON CONFLICT is not in the SQL standard."""


class NewUser(BaseModel):
    """A user in the request body of an import."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(min_length=3, max_length=254, pattern=r"^[^\x00]*@[^\x00]*$")
    name: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    avatar: str | None = Field(default=None, max_length=500, pattern=NO_NUL)
    active: bool = True


NEW_USERS = TypeAdapter(Annotated[list[NewUser], Field(min_length=1, max_length=10_000)])


@cached(ttl=TTL, tags=["users"], stale_if_error="10m")
async def list_active(request: Request) -> Response:
    """Return the newest 100 active users with name and avatar of their profiles."""
    users = await SESSION(request).scalars(NEWEST_ACTIVE)
    return JSONResponse({"users": [_fields_of(user) for user in users]}, headers=SHARED_HEADERS)


async def import_users(request: Request) -> Response:
    """Add the users in the body whose email is new, in one transaction."""
    new = await parse_body(request, NEW_USERS, "a list of users")
    if isinstance(new, ProblemResponse):
        return new
    session = SESSION(request)
    by_email = {user.email: user for user in new}
    rows = [{"email": user.email, "active": user.active} for user in by_email.values()]
    added = await session.scalars(ADD_NEW[DATABASE(request).dialect], rows)
    named = [(user.id, by_email[user.email]) for user in added]
    session.add_all(Profile(user_id=key, name=user.name, avatar=user.avatar) for key, user in named)
    await session.commit()
    await DATABASE(request).on_commit(partial(purge, request, "users"))
    return JSONResponse({"added": len(named), "skipped": len(new) - len(named)}, 201)


def _fields_of(user: User) -> dict[str, object]:
    profile = user.profile
    return {
        "id": user.id,
        "email": user.email,
        "profile": None if profile is None else {"name": profile.name, "avatar": profile.avatar},
    }
