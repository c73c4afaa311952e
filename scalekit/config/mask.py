"""Mask passwords in addresses: in an address alone, however badly it is written, and in any text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

MASK = "***"
MARK = "://"

_SECRET_NAME = re.compile(r"passw|pwd|secret|token|credential|(^|[_-])(api)?key", re.IGNORECASE)
_BEGINNING = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*")
_PARAMETER = re.compile(r"([?&;])([^?&;=\s]+)=([^&;\s\"']+)")
_VALUE = re.compile(r"([?&;])([^?&;=]+)=([^&;]+)")
_PORT = re.compile(r"[0-9]{1,5}(?=[/?#,:]|$)|$")
_BLANK = re.compile(r"\s")


def is_secret_name(name: object) -> bool:
    """Return whether a key or a parameter of this name is expected to hold a secret."""
    return isinstance(name, str) and bool(_SECRET_NAME.search(name))


def mask_passwords(text: str) -> str:
    """Return *text* with the passwords of every address in it replaced by ``***``, in time linear in its length.

    An address may be ambiguous: from the first colon of its authority to its last ``@`` all may be the password.
    """
    if MARK in text and "@" in text:
        text = "".join(_without_userinfo(text))
    return mask_parameters(text)


def mask_address(text: str) -> str:
    """Return *text*, which should be an address, without whatever may be a password, blanks included."""
    before, at, place = text.rpartition("@")
    if at and (":" in before or "/" in before):
        beginning = _BEGINNING.match(before)
        shown = beginning[0] if beginning else ""
        user, colon, _ = before[len(shown) :].partition(":")
        if colon and shown.endswith(MARK):
            shown += user + colon
        return f"{shown}{MASK}@{mask_values(place)}"
    scheme, mark, rest = text.partition(MARK)
    if mark and not at and not rest.startswith("["):
        host, colon, port = rest.partition(":")
        # What should be a port may be a password whose host was forgotten.
        if colon and not re.search(r"[/?#]", host) and not _PORT.match(port):
            return f"{scheme}{MARK}{host}:{MASK}"
    return mask_values(text) if mark else text


def mask_parameters(text: str) -> str:
    """Return *text* with the values of parameters replaced by ``***`` whose names are those of secrets."""
    return _PARAMETER.sub(_masked, text) if "=" in text else text


def mask_values(address: str) -> str:
    """Return *address* with the values of its secret parameters replaced by ``***``, whatever is in them."""
    return _VALUE.sub(_masked, address) if "=" in address else address


def secret_values(query: str) -> Iterator[str]:
    """Return the values of the parameters in *query* whose names are those of secrets."""
    for match in _VALUE.finditer(f"?{query}"):
        if is_secret_name(unquote_plus(match[2])):
            yield match[3]


def _masked(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}={MASK}" if is_secret_name(unquote(match[2])) else match[0]


def _without_userinfo(text: str) -> Iterator[str]:
    """Return the pieces of *text*, each word with an address in it masked; a word is looked through once."""
    done = 0
    mark = text.find(MARK)
    while mark >= 0:
        blank = _BLANK.search(text, mark)
        end = blank.start() if blank else len(text)
        at = text.rfind("@", mark, end)
        colon = text.find(":", mark + len(MARK), at) if at > 0 else -1
        if colon >= 0:
            yield text[done : colon + 1] + MASK
            done = at
        mark = text.find(MARK, end)
    yield text[done:]
