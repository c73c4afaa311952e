"""Format access log lines with templates instead of a serializer, since all their types are fixed.

The request only queues an AccessRecord; records are formatted in batches, which takes half the time of formatting them
one by one. Parts that recur in many lines are formatted once and cached.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import orjson

from scalekit_logging.json_formatter import JsonFormatter, format_second
from scalekit_logging.levels import ERROR, INFO, name_of
from scalekit_logging.serialization import ValueSerializer

LOGGER = "scalekit.access"
EVENT = "request"
MAX_CACHE_ENTRIES = 2048
"""Maximum number of entries of each cache."""

_MAX_CACHED_LENGTH = 256
_MAX_TEXT_LENGTH = 2048


AccessRecord = tuple[float, str, str, str, str, str, int, float, int, str, bytes, list[str], str]
"""Unix time in seconds, request id, trace id, method, path, route, status, duration in seconds, response bytes, client
address, user agent, span ids of outgoing calls, and span id of the request, empty when no spans are recorded."""


class EscapedTextCache(dict[str | bytes, bytes]):
    """Cache of redacted texts as JSON strings."""

    def __init__(self, serializer: ValueSerializer) -> None:
        super().__init__()
        self._serializer = serializer

    def __missing__(self, text: str | bytes) -> bytes:
        """Format *text*."""
        decoded = text.decode("latin-1") if isinstance(text, bytes) else text
        escaped = orjson.dumps(self._serializer.serialize_text(decoded))
        if len(text) <= _MAX_CACHED_LENGTH:
            _clear_when_full(self)
            self[text] = escaped
        return escaped


class LineTemplateCache(dict[tuple[str, str, int], bytes]):
    """Cache of line templates, one for each method, route and status."""

    def __init__(self, texts: EscapedTextCache, static: bytes) -> None:
        super().__init__()
        self._texts = texts
        self._static = static

    def __missing__(self, key: tuple[str, str, int]) -> bytes:
        """Return the template of *key*, with placeholders for the time and all fields that vary."""
        method, route, status = key
        level_name = name_of(INFO if status < 500 else ERROR).encode()
        texts = (level_name, self._static, self._texts[method], self._texts[route])
        level, static, method_json, route_json = (text.replace(b"%", b"%%") for text in texts)
        template = (
            b'{"timestamp":"%b%06dZ","level":"' + level + b'",' + static + b',"request_id":"%b","trace_id":"%b"%b'
            b',"method":'
            + method_json
            + b',"path":%b,"route":'
            + route_json
            + b',"status":'
            + b"%d" % status
            + b',"duration_ms":%.3f,"bytes":%d,"client":%b,"user_agent":%b%b}\n'
        )
        if len(method) + len(route) <= _MAX_CACHED_LENGTH:
            _clear_when_full(self)
            self[key] = template
        return template


class AccessLogFormatter:
    """Formats access records as lines with the same fields and redaction as *formatter*."""

    def __init__(self, formatter: JsonFormatter) -> None:
        serializer = ValueSerializer(formatter.redactor, _MAX_TEXT_LENGTH, 0)
        static = orjson.dumps({"event": EVENT, "logger": LOGGER, **formatter.fields})[1:-1]
        self._texts = EscapedTextCache(serializer)
        self._paths = EscapedTextCache(serializer)  # separate: many paths occur once and would evict other texts
        self._templates = LineTemplateCache(self._texts, static)
        self._second = (inf, b"")
        self.caches = (self._texts, self._paths, self._templates)

    def format(self, entries: Iterable[bytes | AccessRecord]) -> list[bytes]:
        """Return *entries* as lines; bytes are complete lines already."""
        texts, paths, templates = self._texts, self._paths, self._templates
        lines: list[bytes] = []
        start, second = self._second
        for entry in entries:
            if isinstance(entry, bytes):
                lines.append(entry)
                continue
            now, request_id, trace_id, method, path, route, status, seconds, size, client, agent, calls, span = entry
            fraction = now - start
            if not 0.0 <= fraction < 1.0:
                start = now // 1.0
                fraction = now - start
                second = format_second(start).encode()
            line = templates[method, route, status] % (
                second,
                fraction * 1e6,
                request_id.encode(),
                trace_id.encode(),
                b',"span_id":"%b"' % span.encode() if span else b"",
                paths[path],
                seconds * 1e3,
                size,
                texts[client],
                texts[agent],
                _format_calls(calls) if calls else b"",
            )
            lines.append(line)
        self._second = start, second
        return lines


def _clear_when_full(cache: EscapedTextCache | LineTemplateCache) -> None:
    if len(cache) >= MAX_CACHE_ENTRIES:
        cache.clear()


def _format_calls(spans: list[str]) -> bytes:
    """Return the field ``calls`` with the span ids of outgoing calls, which are hexadecimal and need no escaping."""
    listed = '","'.join(spans)
    return f',"calls":["{listed}"]'.encode()
