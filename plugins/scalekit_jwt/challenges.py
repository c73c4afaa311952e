"""401 and 403 responses with their ``WWW-Authenticate`` challenges (RFC 6750 section 3, RFC 9449 section 7.1)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from scalekit import Key, LocalResponse, ProblemResponse, local_response
from scalekit_jwt.dpop import ALGORITHMS

BEARER_CHALLENGE = 'Bearer realm="api"'
DPOP_CHALLENGE = f'DPoP realm="api", algs="{" ".join(ALGORITHMS)}"'
CHALLENGE: Key[str] = Key("token challenge", plugin="jwt")
"""The challenge for tokens of this service: BEARER_CHALLENGE or DPOP_CHALLENGE."""

# Descriptions name what a legitimate client can fix, and nothing that helps an attacker to forge a token.
DESCRIPTIONS = {
    "expired": "the access token expired",
    "revoked": "the access token was revoked",
    "fingerprint": "the cookie that the access token is bound to is missing or wrong",
    "binding": "the access token is not bound to the key of the DPoP proof",
    "proof": "missing or invalid DPoP proof for this request and token",
    "proof_replayed": "the DPoP proof was already used",
}
PROOF_REASONS = frozenset({"proof", "proof_replayed"})
REJECTION_REASON = "scalekit_jwt.rejection_reason"
"""The scope key with the reason why a token was rejected, on a path that needs no token."""
CACHED_RESPONSES = 64
"""Cached responses of each kind: one per reason, and one per set of scopes in the rules."""
INVALID = "the access token is invalid"


def challenge(scheme: str, error: str = "", description: str = "", scope: Iterable[str] = ()) -> str:
    """Return a ``WWW-Authenticate`` header."""
    fields = [scheme]
    if error:
        fields += [f'error="{error}"', f'error_description="{description}"']
    if scope:
        fields.append(f'scope="{" ".join(sorted(scope))}"')
    return ", ".join(fields)


@lru_cache(CACHED_RESPONSES)
def unauthorized(scheme: str, reason: str = "") -> ProblemResponse:
    """Return the 401 for a missing token, or for a token rejected for *reason*; 400 for duplicate headers."""
    if not reason:
        detail = "missing access token" if scheme == DPOP_CHALLENGE else "missing bearer token"
        return _problem(401, detail, challenge(scheme))
    if reason == "duplicate_header":
        description = "several Authorization headers"
        return _problem(400, description, challenge(scheme, "invalid_request", description))
    description = DESCRIPTIONS.get(reason, INVALID)
    if reason in PROOF_REASONS:
        return _problem(401, description, challenge(DPOP_CHALLENGE, "invalid_dpop_proof", description))
    required = DPOP_CHALLENGE if reason == "binding" else scheme
    return _problem(401, description, challenge(required, "invalid_token", description))


@lru_cache(CACHED_RESPONSES)
def forbidden(scheme: str, scopes: frozenset[str]) -> ProblemResponse:
    """Return the 403 for a valid token without the required *scopes* or claims."""
    description = "insufficient scope"
    return _problem(403, description, challenge(scheme, "insufficient_scope", description, scopes))


@lru_cache(CACHED_RESPONSES)
def unauthorized_response(scheme: str, reason: str = "") -> LocalResponse:
    """Return ``unauthorized`` as the response of a filter."""
    return local_response(unauthorized(scheme, reason), "missing or invalid token")


@lru_cache(CACHED_RESPONSES)
def forbidden_response(scheme: str, scopes: frozenset[str]) -> LocalResponse:
    """Return ``forbidden`` as the response of a filter."""
    return local_response(forbidden(scheme, scopes), "insufficient scope")


def _problem(status: int, detail: str, www_authenticate: str) -> ProblemResponse:
    return ProblemResponse(status, detail, headers={"www-authenticate": www_authenticate})
