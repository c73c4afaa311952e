"""Say no as RFC 6750 has it."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope, Send

from scalekit.problem import ProblemResponse, refuse
from scalekit_jwt.errors import Refused

# A client learns what it can do about it, and nothing that helps to make a better forgery.
DESCRIPTIONS = {
    "expired": "The access token expired",
    "revoked": "The access token was revoked",
    "fingerprint": "The access token is bound to a cookie that did not come with it",
}
INVALID = "The access token is not valid"


def challenge(error: str = "", description: str = "", scope: Iterable[str] = ()) -> str:
    """Return a ``WWW-Authenticate``."""
    fields = ['Bearer realm="api"']
    if error:
        fields += [f'error="{error}"', f'error_description="{description}"']
    if scope:
        fields.append(f'scope="{" ".join(sorted(scope))}"')
    return ", ".join(fields)


def unauthorized(reason: str = "") -> ProblemResponse:
    """Return the answer to who shows no token, or one that was refused for *reason*."""
    if not reason:
        return _problem(401, "A bearer token is needed", challenge())
    if reason == "repeated":
        description = "Several Authorization headers came"
        return _problem(400, description, challenge("invalid_request", description))
    description = DESCRIPTIONS.get(reason, INVALID)
    return _problem(401, description, challenge("invalid_token", description))


def forbidden(scopes: Iterable[str]) -> ProblemResponse:
    """Return the answer to whose token is good, and not enough."""
    description = "The access token does not allow this"
    return _problem(403, description, challenge("insufficient_scope", description, scopes))


async def answer(scope: Scope, send: Send, response: ProblemResponse, detail: str) -> None:
    """Send *response*, or close the websocket that *scope* is with *detail*."""
    if scope["type"] == "websocket":
        headers = {"www-authenticate": response.headers["www-authenticate"]}
        await refuse(scope, send, response.status_code, detail, headers=headers)
    else:
        await response(scope, _nothing, send)


def reason_of(refused: Refused | None) -> str:
    """Return why, empty for who showed nothing."""
    return refused.reason if refused else ""


async def _nothing() -> dict[str, str]:
    return {"type": "http.disconnect"}


def _problem(status: int, detail: str, www_authenticate: str) -> ProblemResponse:
    return ProblemResponse(status, detail, headers={"www-authenticate": www_authenticate})
