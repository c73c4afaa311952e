"""The authenticated user of a request, as ``request.user``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.authentication import AuthCredentials, BaseUser, UnauthenticatedUser

from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.token_verifier import VerifiedToken

ANONYMOUS_USER = UnauthenticatedUser()
NO_CREDENTIALS = AuthCredentials()


class TokenUser(BaseUser):
    """The user of a verified token; ``claims`` are all claims of the token.

    ``identity`` is unique only within ``issuer``; ``subject_identifier`` combines issuer and subject.
    """

    __slots__ = ("claims", "issuer", "subject", "subject_identifier")

    def __init__(self, token: VerifiedToken) -> None:
        self.subject = token.subject
        self.issuer = token.issuer
        self.subject_identifier = SubjectIdentifier(token.issuer, token.subject)
        self.claims: Mapping[str, Any] = token.claims

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is authenticated: True."""
        return True

    @property
    def display_name(self) -> str:
        """The claim ``name``, or the subject without it."""
        name = self.claims.get("name")
        return name if isinstance(name, str) else self.subject

    @property
    def identity(self) -> str:
        """The subject."""
        return self.subject
