"""List active users and import users."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sample_app.cache_policy import SHARED_HEADERS, TTL, purge
from sample_app.tables import profiles, users
from sample_app.validation import NO_NUL, parse_body
from scalekit.contracts import DATABASE, READS
from scalekit.http.problem import ProblemResponse
from scalekit_cache import cached


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
    active_users = await READS(request).select(
        users,
        "id",
        "email",
        "profile.name",
        "profile.avatar",
        where=users.c.active,
        order_by=users.c.id.desc(),
        limit=100,
    )
    return JSONResponse({"users": active_users}, headers=SHARED_HEADERS)


async def import_users(request: Request) -> Response:
    """Add the users in the body whose email is new, in one transaction."""
    new = await parse_body(request, NEW_USERS, "a list of users")
    if isinstance(new, ProblemResponse):
        return new
    database = DATABASE(request)
    by_email = {user.email: user for user in new}
    async with database.transaction():
        rows = [{"email": user.email, "active": user.active} for user in by_email.values()]
        added = await database.insert_many(users, rows, skip_duplicates=True, returning=["id", "email"])
        named = [(row["id"], by_email[row["email"]]) for row in added]
        await database.insert_many(
            profiles, [{"user_id": key, "name": user.name, "avatar": user.avatar} for key, user in named]
        )
    await purge(request, "users")
    return JSONResponse({"added": len(named), "skipped": len(new) - len(named)}, 201)
