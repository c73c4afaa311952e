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


def is_authenticated(user: Any) -> bool:
    """Return whether *user* is authenticated; true when it does not define that or raises."""
    try:
        return bool(getattr(user, "is_authenticated", True))
    except Exception:  # NotImplementedError of Starlette's BaseUser, or whatever loading a user raises
        return True


def subject_of(user: Any) -> SubjectIdentifier | None:
    """Return the subject of *user*, an object as Starlette's middleware sets it, or None without a name."""
    known = getattr(user, "subject_identifier", None)
    if isinstance(known, SubjectIdentifier):
        return known
    for attribute in ("identity", "display_name"):
        if name := _name(user, attribute):
            return SubjectIdentifier("", name)
    return None


def subject_in(scope: Scope) -> SubjectIdentifier | None:
    """Return the authenticated user of a request or websocket; None where there is none, or none with a name."""
    user = scope.get("user")
    return None if user is None or not is_authenticated(user) else subject_of(user)


def _name(user: Any, attribute: str) -> str:
    """Return the *attribute* as a name; empty where it tells no two users apart, as None and an address do not."""
    try:
        found = getattr(user, attribute, None)
        if isinstance(found, str):
            return str(found)
        return "" if found is None or _is_plain(type(found)) else str(found)
    except Exception:  # as above
        return ""


def _is_plain(kind: type) -> bool:
    """Return whether objects of *kind* are written with an address, which another object may have later."""
    own = {name for each in kind.__mro__[:-1] for name in ("__str__", "__repr__") if name in vars(each)}
    return not own
