"""Say no as RFC 6750 has it, and RFC 9449."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from scalekit import Key, LocalResponse
from scalekit.http.response import local_problem
from scalekit.problem import ProblemResponse
from scalekit_jwt.dpop import ALGORITHMS

BEARER = 'Bearer realm="api"'
DPOP = f'DPoP realm="api", algs="{" ".join(ALGORITHMS)}"'
SCHEME: Key[str] = Key("scheme of tokens", plugin="jwt")
"""How the tokens of this service are shown: BEARER or DPOP."""

# A client learns what it can do about it, and nothing that helps to make a better forgery.
DESCRIPTIONS = {
    "expired": "The access token expired",
    "revoked": "The access token was revoked",
    "fingerprint": "The access token is bound to a cookie that did not come with it",
    "binding": "The access token is not bound to the key of a proof that came with it",
    "proof": "A proof for this request and this token is needed",
    "proof_used": "The proof was used before",
}
PROOFS = frozenset({"proof", "proof_used"})
REFUSED = "scalekit_jwt.refused"
"""Where the scope says why a token was not good, on a path that needs none."""
REMEMBERED = 64
"""Answers of each kind that are remembered: there are as many as reasons, and sets of scopes in the rules."""
INVALID = "The access token is not valid"


def challenge(scheme: str, error: str = "", description: str = "", scope: Iterable[str] = ()) -> str:
    """Return a ``WWW-Authenticate``."""
    fields = [scheme]
    if error:
        fields += [f'error="{error}"', f'error_description="{description}"']
    if scope:
        fields.append(f'scope="{" ".join(sorted(scope))}"')
    return ", ".join(fields)


@lru_cache(REMEMBERED)
def unauthorized(scheme: str, reason: str = "") -> ProblemResponse:
    """Return the answer to who shows no token, or one that was refused for *reason*."""
    if not reason:
        return _problem(401, "A token is needed" if scheme == DPOP else "A bearer token is needed", challenge(scheme))
    if reason == "repeated":
        description = "Several Authorization headers came"
        return _problem(400, description, challenge(scheme, "invalid_request", description))
    description = DESCRIPTIONS.get(reason, INVALID)
    if reason in PROOFS:
        return _problem(401, description, challenge(DPOP, "invalid_dpop_proof", description))
    return _problem(401, description, challenge(DPOP if reason == "binding" else scheme, "invalid_token", description))


@lru_cache(REMEMBERED)
def forbidden(scheme: str, scopes: frozenset[str]) -> ProblemResponse:
    """Return the answer to whose token is good, and not enough."""
    description = "The access token does not allow this"
    return _problem(403, description, challenge(scheme, "insufficient_scope", description, scopes))


@lru_cache(REMEMBERED)
def unauthorized_response(scheme: str, reason: str = "") -> LocalResponse:
    """Return the same for a filter to give."""
    return local_problem(unauthorized(scheme, reason), "a valid token is needed")


@lru_cache(REMEMBERED)
def forbidden_response(scheme: str, scopes: frozenset[str]) -> LocalResponse:
    """Return the response to a token that is good, and not enough, for a filter to give."""
    return local_problem(forbidden(scheme, scopes), "the token does not allow this")


def _problem(status: int, detail: str, www_authenticate: str) -> ProblemResponse:
    return ProblemResponse(status, detail, headers={"www-authenticate": www_authenticate})
