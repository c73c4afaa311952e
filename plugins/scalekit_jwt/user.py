"""Who asks, as Starlette has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.authentication import AuthCredentials, BaseUser, UnauthenticatedUser

from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.token_verifier import VerifiedToken

ANONYMOUS_USER = UnauthenticatedUser()
NO_CREDENTIALS = AuthCredentials()


class TokenUser(BaseUser):
    """Who a verified token stands for; ``claims`` are all that it says.

    ``identity`` is unique only within ``issuer``; ``subject_identifier`` is both.
    """

    __slots__ = ("claims", "issuer", "subject", "subject_identifier")

    def __init__(self, token: VerifiedToken) -> None:
        self.subject = token.subject
        self.issuer = token.issuer
        self.subject_identifier = SubjectIdentifier(token.issuer, token.subject)
        self.claims: Mapping[str, Any] = token.claims

    @property
    def is_authenticated(self) -> bool:
        """True: a token has been verified."""
        return True

    @property
    def display_name(self) -> str:
        """The claim ``name``, else the subject."""
        name = self.claims.get("name")
        return name if isinstance(name, str) else self.subject

    @property
    def identity(self) -> str:
        """The subject."""
        return self.subject
