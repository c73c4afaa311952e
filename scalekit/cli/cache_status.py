"""``Cache-Status`` of a response (RFC 9211) in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scalekit.testing.inprocess import TestResponse

FORWARDED = {
    "bypass": "the request is not for caches",
    "method": "the method is not for caches",
    "uri-miss": "nothing is stored for this URL",
    "vary-miss": "what is stored is for requests with other headers",
    "miss": "nothing is stored for this request",
    "request": "what is stored is not for this request",
    "stale": "what is stored is stale",
    "partial": "only a part is stored",
}
"""Why a cache forwarded the request, by the parameter ``fwd`` (RFC 9211)."""
_PARAMETER = re.compile(r';\s*([a-z*][a-z0-9_.*-]*)(?:=("(?:[^"\\]|\\.)*"|[^;,\s]*))?')
_MEMBER = re.compile(r'\s*([^;,\s]+)((?:;\s*[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[^"\\]|\\.)*"|[^;,\s]*))?)*)\s*,?')


def explained(answer: TestResponse) -> Iterator[str]:
    """Yield one sentence for each cache listed in the response's Cache-Status."""
    for member in _MEMBER.finditer(answer.header("cache-status") or ""):
        parameters = {name: value.strip('"') for name, value in _PARAMETER.findall(member[2])}
        yield f"{member[1]}: {'; '.join(_sentences(parameters))}"


def _sentences(parameters: dict[str, str]) -> Iterator[str]:
    if "hit" in parameters:
        left = parameters.get("ttl")
        yield "answered from what is stored" + (f", fresh for {left} s more" if left else "")
    if "fwd" in parameters:
        reason = parameters["fwd"]
        yield f"asked the application, because {FORWARDED.get(reason, reason)} (fwd={reason})"
    if "collapsed" in parameters:
        yield "shared the response with a request at the same time"
    if "stored" in parameters:
        yield "stored the response"
    elif "detail" in parameters:
        yield f"stored nothing: {parameters['detail']}"
