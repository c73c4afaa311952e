"""Users, named so that no two of them share a name (RFC 9493, section 3.2.3)."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.types import Scope


class SubjectIdentifier(NamedTuple):
    """A user: *subject* is unique only within its *issuer*, which is empty for users whom the application names.

    A user object that has one as ``subject_identifier`` is known by it; any other by its ``identity`` or
    ``display_name``, without an issuer.
    """

    issuer: str
    subject: str

    @property
    def text(self) -> str:
        """One text that stands for it and, since the length of the issuer is in front, for no other."""
        return f"{len(self.issuer)}:{self.issuer}{self.subject}"

    @property
    def encoded(self) -> bytes:
        """The text as bytes."""
        return self.text.encode("utf-8", "surrogatepass")


def subject_of(user: Any) -> SubjectIdentifier | None:
    """Return who *user* is, an object as Starlette's middleware sets it; None without a name."""
    known = getattr(user, "subject_identifier", None)
    if isinstance(known, SubjectIdentifier):
        return known
    for attribute in ("identity", "display_name"):
        try:
            name = str(getattr(user, attribute))
        except (AttributeError, NotImplementedError):
            continue
        if name:
            return SubjectIdentifier("", name)
    return None


def subject_in(scope: Scope) -> SubjectIdentifier | None:
    """Return the authenticated user of a request or websocket; None where there is none, or none with a name."""
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", True):
        return None
    return subject_of(user)
