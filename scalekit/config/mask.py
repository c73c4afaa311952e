"""Mask passwords in addresses: in an address alone, however badly it is written, and in any text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

MASK = "***"
"""The text that stands for a secret in logs, errors and pages."""
MARK = "://"
KEYS = ("http:", "https:")
"""Where a user may be a secret: many services take a key for one, with no password or an empty one."""

_SECRET_NAME = re.compile(r"passw|pwd|secret|token|credential|(^|[_-])((api)?key|sig(nature)?$)", re.IGNORECASE)
_BEGINNING = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*")
_PARAMETER = re.compile(r"([?&;])([^?&;=\s]*)(=[^?&;\s\"']*)?")
_VALUE = re.compile(r"([?&;])([^?&;=]*)(=[^?&;]*)?")
_PORT = re.compile(r"[0-9]{1,5}(?=[/?#,:]|$)|$")
_USER = re.compile(r"[^:/?#@\s]+:?@")
_BLANK = re.compile(r"\s")
_SETTING = re.compile(r"(?:^|(?<=[\s;,:]))([\w-]+)\s*=\s*")
"""Of ``host=db user=shop password=...``, which drivers take in the place of an address."""
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_JWK_MEMBER = re.compile(r"""(\\?["'](?:k|d|p|q|dp|dq|qi)\\?["']\s*:\s*\\?["'])[^"'\\]*""")


def is_secret_name(name: object) -> bool:
    """Return whether a key or a parameter of this name is expected to hold a secret."""
    return isinstance(name, str) and bool(_SECRET_NAME.search(name))


def mask_passwords(text: str) -> str:
    """Return *text* with the passwords of every address in it replaced by ``***``, in time linear in its length.

    An address may be ambiguous: from the first colon of its authority to its last ``@`` all may be the password.
    Private keys are replaced too: one may stand where the path of its file belongs.
    """
    text = mask_keys(text)
    if MARK in text and "@" in text:
        text = "".join(_without_userinfo(text))
    return mask_parameters(text)


def mask_address(text: str) -> str:
    """Return *text*, which should be an address, without whatever may be a password, blanks included."""
    text = mask_keys(text)
    before, at, place = text.rpartition("@")
    if at and (":" in before or "/" in before):
        beginning = _BEGINNING.match(before)
        shown = beginning[0] if beginning else ""
        user, colon, _ = before[len(shown) :].partition(":")
        if colon and shown.endswith(MARK) and not shown.lower().startswith(KEYS):
            shown += user + colon
        # An @ in a secret parameter is none before a host.
        is_place = f"@{place}" in mask_values(text) or "=" not in before
        return f"{shown}{MASK}@{mask_values(place) if is_place else MASK}"
    scheme, mark, rest = text.partition(MARK)
    if mark and not at and not rest.startswith("["):
        host, colon, port = rest.partition(":")
        # What should be a port may be a password whose host was forgotten.
        if colon and not re.search(r"[/?#]", host) and not _PORT.match(port):
            return f"{scheme}{MARK}{host}:{MASK}"
    return mask_values(text) if mark else _mask_settings(text)


def mask_keys(text: str) -> str:
    """Return *text* without the private keys in it: PEM, or the members of a JWK."""
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(rf"-----BEGIN \1PRIVATE KEY-----{MASK}", text)
    return _JWK_MEMBER.sub(rf"\1{MASK}", text) if "kty" in text else text


def mask_parameters(text: str) -> str:
    """Return *text* with the values of parameters replaced by ``***`` whose names are those of secrets."""
    return _PARAMETER.sub(_Masking(), text) if "=" in text else text


def mask_values(address: str) -> str:
    """Return *address* with the values of its secret parameters replaced by ``***``, whatever is in them."""
    return _VALUE.sub(_Masking(), address) if "=" in address else address


def secret_values(query: str) -> Iterator[str]:
    """Return the values of the parameters in *query* whose names are those of secrets."""
    for part in query.split("&"):
        for match in _VALUE.finditer(f"?{part}"):
            if match[3] and is_secret_name(unquote_plus(match[2])):
                yield from dict.fromkeys((f"?{part}"[match.start(3) + 1 :], match[3][1:]))


def _mask_settings(text: str) -> str:
    """Return *text* without what follows the name of a secret: it may have blanks and further ``=`` in it."""
    secret = next((each for each in _SETTING.finditer(text) if is_secret_name(each[1])), None)
    return f"{text[: secret.end()]}{MASK}" if secret else text


class _Masking:
    """Masks the parameters of one text; a secret ends at ``&``, since clients differ on what ``;`` and ``?`` are."""

    def __init__(self) -> None:
        self._end = -1

    def __call__(self, match: re.Match[str]) -> str:
        """Return what stands for one parameter, or for what may be the rest of a secret."""
        if match.start() == self._end and match[1] != "&":
            self._end = match.end()
            return "" if match[2] or match[3] else match[0]
        if not match[3] or not is_secret_name(unquote(match[2])):
            return match[0]
        self._end = match.end()
        return f"{match[1]}{match[2]}={MASK}"


def _without_userinfo(text: str) -> Iterator[str]:
    """Return the pieces of *text*, each word with an address in it masked; a word is looked through once."""
    done = 0
    mark = text.find(MARK)
    while mark >= 0:
        blank = _BLANK.search(text, mark)
        end = blank.start() if blank else len(text)
        at = text.rfind("@", mark, end)
        begin = mark + len(MARK)
        colon = text.find(":", begin, at) if at > 0 else -1
        if at > 0 and text[mark - 4 : mark].lower() in ("http", "ttps") and _USER.match(text, begin):
            colon = begin - 1
        if colon >= 0:
            yield text[done : colon + 1] + MASK
            done = at
        mark = text.find(MARK, end)
    yield text[done:]
