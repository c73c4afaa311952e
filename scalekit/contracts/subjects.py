"""Unique identifiers of users: issuer and subject (RFC 9493, section 3.2.3)."""

from __future__ import annotations

from typing import NamedTuple

from starlette.types import Scope


class SubjectIdentifier(NamedTuple):
    """A user: *subject* is unique within its *issuer*, which is empty for users of the application itself.

    A user object may have one as ``subject_identifier``; otherwise its ``identity`` or ``display_name`` is the subject,
    without an issuer.
    """

    issuer: str
    subject: str

    @property
    def text(self) -> str:
        """A unique text of both: the length of the issuer, the issuer and the subject."""
        return f"{len(self.issuer)}:{self.issuer}{self.subject}"

    @property
    def encoded(self) -> bytes:
        """``text`` in UTF-8."""
        return self.text.encode("utf-8", "surrogatepass")


def is_authenticated(user: object) -> bool:
    """Return whether *user* is authenticated; true when ``is_authenticated`` is missing or raises."""
    try:
        return bool(getattr(user, "is_authenticated", True))
    except Exception:  # NotImplementedError of Starlette's BaseUser, or an error of loading the user
        return True


def subject_of(user: object) -> SubjectIdentifier | None:
    """Return the identifier of *user*, a Starlette user object, or None when it has no name."""
    known = getattr(user, "subject_identifier", None)
    if isinstance(known, SubjectIdentifier):
        return known
    for attribute in ("identity", "display_name"):
        if name := _name(user, attribute):
            return SubjectIdentifier("", name)
    return None


def subject_in(scope: Scope) -> SubjectIdentifier | None:
    """Return the authenticated user of a request or websocket, or None without one or without a name."""
    user = scope.get("user")
    return None if user is None or not is_authenticated(user) else subject_of(user)


def _name(user: object, attribute: str) -> str:
    """Return *attribute* of *user* as a name, empty when it does not distinguish users, such as a default repr."""
    try:
        found = getattr(user, attribute, None)
        if isinstance(found, str):
            return str(found)
        return "" if found is None or _has_default_repr(type(found)) else str(found)
    except Exception:  # as in is_authenticated
        return ""


def _has_default_repr(kind: type) -> bool:
    """Return whether *kind* has the default repr, whose memory address a later object may reuse."""
    own = {name for each in kind.__mro__[:-1] for name in ("__str__", "__repr__") if name in vars(each)}
    return not own
