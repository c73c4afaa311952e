"""Explain the ``Cache-Status`` of a response (RFC 9211)."""

from __future__ import annotations

import re
from collections.abc import Iterator

FORWARDED = {
    "bypass": "the cache does not handle the request",
    "method": "the cache does not handle the method",
    "uri-miss": "no response is stored for this URL",
    "vary-miss": "the stored responses are for other request headers",
    "miss": "no response is stored for this request",
    "request": "the request does not allow the stored response",
    "stale": "the stored response is stale",
    "partial": "the stored response is incomplete",
}
"""Reasons why a cache forwarded the request, by the parameter ``fwd`` (RFC 9211, section 2.2)."""
_PARAMETER = re.compile(r';\s*([a-z*][a-z0-9_.*-]*)(?:=("(?:[^"\\]|\\.)*"|[^;,\s]*))?')
_MEMBER = re.compile(r'\s*([^;,\s]+)((?:;\s*[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[^"\\]|\\.)*"|[^;,\s]*))?)*)\s*,?')


def explain_cache_status(value: str) -> Iterator[str]:
    """Yield one line for each cache in *value*, the Cache-Status of a response."""
    for member in _MEMBER.finditer(value):
        parameters = {name: value.strip('"') for name, value in _PARAMETER.findall(member[2])}
        yield f"{member[1]}: {'; '.join(_sentences(parameters))}"


def _sentences(parameters: dict[str, str]) -> Iterator[str]:
    if "hit" in parameters:
        ttl = parameters.get("ttl")
        yield "sent the stored response" + (f", fresh for {ttl} s more" if ttl else "")
    if "fwd" in parameters:
        reason = parameters["fwd"]
        yield f"forwarded to the application: {FORWARDED.get(reason, reason)} (fwd={reason})"
    if "collapsed" in parameters:
        yield "shared the response of a concurrent request"
    if "stored" in parameters:
        yield "stored the response"
    elif "detail" in parameters:
        yield f"not stored: {parameters['detail']}"
