"""Mask passwords and keys in URLs, valid or not, and in any text that contains URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

MASK = "***"
"""The text that stands for a secret in logs, errors and pages."""
MARK = "://"
KEYS = ("http:", "https:")
"""Schemes of URLs whose user may be a secret: many HTTP services take a key as user, without a password."""

_SECRET_NAME = re.compile(r"passw|pwd|secret|token|credential|(^|[_-])((api)?key|sig(nature)?$)", re.IGNORECASE)
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*")
_PARAMETER = re.compile(r"([?&;])([^?&;=\s]*)(=[^?&;\s\"']*)?")
_VALUE = re.compile(r"([?&;])([^?&;=]*)(=[^?&;]*)?")
_PORT = re.compile(r"[0-9]{1,5}(?=[/?#,:]|$)|$")
_USER = re.compile(r"[^:/?#@\s]+:?@")
_BLANK = re.compile(r"\s")
_SETTING = re.compile(r"(?:^|(?<=[\s;,:]))([\w-]+)\s*=\s*")
"""A setting of ``host=db user=shop password=...``, which database drivers accept instead of a URL."""
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_JWK_MEMBER = re.compile(r"""(\\?["'](?:k|d|p|q|dp|dq|qi)\\?["']\s*:\s*\\?["'])[^"'\\]*""")


def is_secret_name(name: object) -> bool:
    """Return whether the value of a key or parameter of this *name* is a secret."""
    return isinstance(name, str) and bool(_SECRET_NAME.search(name))


def mask_passwords(text: str) -> str:
    """Return *text* with the passwords of all URLs in it replaced by ``***``, in time linear in its length.

    In an ambiguous URL everything from the first colon of the authority to the last ``@`` may be the password. Private
    keys are replaced too: a user may have set one instead of the path of its file.
    """
    text = mask_keys(text)
    if MARK in text and "@" in text:
        text = "".join(_without_userinfo(text))
    return mask_parameters(text)


def mask_url(text: str) -> str:
    """Return *text*, presumably a URL, with everything that may be a password replaced by ``***``."""
    text = mask_keys(text)
    before, at, host = text.rpartition("@")
    if at and (":" in before or "/" in before):
        prefix = _PREFIX.match(before)
        shown = prefix[0] if prefix else ""
        user, colon, _ = before[len(shown) :].partition(":")
        if colon and shown.endswith(MARK) and not shown.lower().startswith(KEYS):
            shown += user + colon
        # An @ inside a secret parameter does not end the userinfo.
        is_host = f"@{host}" in mask_values(text) or "=" not in before
        return f"{shown}{MASK}@{mask_values(host) if is_host else MASK}"
    scheme, mark, rest = text.partition(MARK)
    if mark and not at and not rest.startswith("["):
        host, colon, port = rest.partition(":")
        # An invalid port may be a password without its host.
        if colon and not re.search(r"[/?#]", host) and not _PORT.match(port):
            return f"{scheme}{MARK}{host}:{MASK}"
    return mask_values(text) if mark else _mask_settings(text)


def mask_keys(text: str) -> str:
    """Return *text* with private keys, PEM or members of a JWK, replaced by ``***``."""
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(rf"-----BEGIN \1PRIVATE KEY-----{MASK}", text)
    return _JWK_MEMBER.sub(rf"\1{MASK}", text) if "kty" in text else text


def mask_parameters(text: str) -> str:
    """Return *text* with the values of secret query parameters replaced by ``***``."""
    return _PARAMETER.sub(_ParameterMask(), text) if "=" in text else text


def mask_values(url: str) -> str:
    """Return *url* with the values of its secret query parameters, spaces and quotes included, replaced by ``***``."""
    return _VALUE.sub(_ParameterMask(), url) if "=" in url else url


def secret_values(query: str) -> Iterator[str]:
    """Yield the values of secret parameters in *query*."""
    for part in query.split("&"):
        for match in _VALUE.finditer(f"?{part}"):
            if match[3] and is_secret_name(unquote_plus(match[2])):
                yield from dict.fromkeys((f"?{part}"[match.start(3) + 1 :], match[3][1:]))


def _mask_settings(text: str) -> str:
    """Return *text* up to the first secret setting; a secret may contain spaces and ``=``."""
    secret = next((each for each in _SETTING.finditer(text) if is_secret_name(each[1])), None)
    return f"{text[: secret.end()]}{MASK}" if secret else text


class _ParameterMask:
    """Masks the parameters of one text; a secret ends only at ``&``, since clients interpret ``;`` differently."""

    def __init__(self) -> None:
        self._end = -1

    def __call__(self, match: re.Match[str]) -> str:
        """Return the replacement of one parameter, or of a part that may belong to the previous secret."""
        if match.start() == self._end and match[1] != "&":
            self._end = match.end()
            return "" if match[2] or match[3] else match[0]
        if not match[3] or not is_secret_name(unquote(match[2])):
            return match[0]
        self._end = match.end()
        return f"{match[1]}{match[2]}={MASK}"


def _without_userinfo(text: str) -> Iterator[str]:
    """Yield the pieces of *text* with the passwords of URLs masked; each word is scanned once."""
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
