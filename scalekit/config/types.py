"""Value types of the file: durations, sizes, rates and secrets."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

Secret = SecretStr
"""A text that ``str`` and ``repr`` mask; ``get_secret_value()`` returns it (pydantic's ``SecretStr``)."""

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_BYTES = {unit.lower(): size for unit, size in BYTES.items()}
_DURATION = r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h|d))+"
_SIZE = r"\d+(?:\.\d+)?(?:[kKmMgG][iI]?)?[bB]"
_SHARE = r"(?:100|\d{1,2}(?:\.\d+)?)%"
_RATE = rf"\d+/(?:us|ms|s|m|h|d|{_DURATION})"


class TextValue:
    """A value whose constructor parses the text of the file and whose ``str`` returns that text."""

    JSON_SCHEMA: ClassVar[JsonSchemaValue]

    @classmethod
    def _read(cls, value: Any) -> Self:
        return value if isinstance(value, cls) else cls(value)  # type: ignore[call-arg]  # in subclasses

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema that parses the text of the file."""
        show = core_schema.plain_serializer_function_ser_schema(str)
        return core_schema.no_info_plain_validator_function(cls._read, serialization=show)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON Schema of the text."""
        return dict(cls.JSON_SCHEMA)


class Duration(TextValue, float):
    """A duration in seconds, written ``"250ms"``, ``"30s"``, ``"1h30m"`` or ``"7d"``."""

    JSON_SCHEMA = {"type": "string", "pattern": f"^{_DURATION}$"}

    def __new__(cls, text: str) -> Self:
        """Parse *text*; raises ValueError when it is not a duration."""
        if not isinstance(text, str) or not re.fullmatch(_DURATION, text):
            raise ValueError(f'expected a duration such as "250ms", "30s", "15m" or "7d", got {text!r}')
        parts = re.findall(r"([\d.]+)([a-z]+)", text)
        return super().__new__(cls, sum(float(number) * SECONDS[unit] for number, unit in parts))

    def __reduce__(self) -> tuple[object, ...]:
        """Return how copies and pickles are made: from the number of seconds, which the constructor does not take."""
        return float.__new__, (type(self), float(self))

    def __str__(self) -> str:
        """Return the value in the largest unit that divides it, else in a readable one."""
        whole = next((unit for unit in ("d", "h", "m", "s") if self and self % SECONDS[unit] == 0), None)
        unit = whole or ("s" if not self or self >= 1 else "ms" if self >= 1e-3 else "us")
        number = f"{self / SECONDS[unit]:.6f}"
        return f"{number.rstrip('0').rstrip('.')}{unit}"


class Size(TextValue, int):
    """A size in bytes, written ``"1MiB"``, ``"64KiB"``, ``"10MB"`` or as an integer."""

    JSON_SCHEMA = {"type": ["string", "integer"], "pattern": f"^{_SIZE}$", "minimum": 0}

    def __new__(cls, text: str | int) -> Self:
        """Parse *text*; raises ValueError when it is not a size."""
        if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
            return super().__new__(cls, text)
        if not isinstance(text, str) or not re.fullmatch(_SIZE, text):
            raise ValueError(f'expected a size such as "64KiB", "1MiB" or "10MB", got {text!r}')
        number, unit = re.findall(r"([\d.]+)([A-Za-z]+)", text)[0]
        return super().__new__(cls, round(Decimal(number) * _BYTES[unit.lower()]))

    def __str__(self) -> str:
        """Return the value in the largest unit that divides it."""
        units = ("GiB", "MiB", "KiB", "GB", "MB", "kB")
        unit = next((unit for unit in units if self and self % BYTES[unit] == 0), "B")
        return f"{int(self) // BYTES[unit]}{unit}"


class SizeOrShare(TextValue):
    """A size in bytes or a share of a total, written ``"512MiB"`` or ``"20%"``."""

    JSON_SCHEMA = {"type": ["string", "integer"], "pattern": f"^({_SIZE}|{_SHARE})$", "minimum": 1}
    __slots__ = ("_share", "_size")

    def __init__(self, text: str | int) -> None:
        """Parse *text*; raises ValueError when it is neither, or zero."""
        is_share = isinstance(text, str) and bool(re.fullmatch(_SHARE, text))
        self._share = float(str(text)[:-1]) / 100 if is_share else None
        try:
            self._size = Size(0 if is_share else text)
        except ValueError:
            self._size = Size(0)
        if not self._share and not self._size:
            raise ValueError(f'expected a size such as "512MiB" or a share such as "20%", got {text!r}')

    def of(self, total: int) -> int:
        """Return the size in bytes; a share is one of *total* bytes."""
        return int(self._size) if self._share is None else int(self._share * total)

    def __str__(self) -> str:
        """Return the text of the file."""
        return str(self._size) if self._share is None else f"{self._share * 100:g}%"


class Rate(TextValue):
    """At most *limit* events in *period* seconds, written ``"100/15m"`` or ``"10/s"``."""

    JSON_SCHEMA = {"type": "string", "pattern": f"^{_RATE}$"}
    __slots__ = ("limit", "period")

    def __init__(self, text: str) -> None:
        """Parse *text*; raises ValueError when it is not a rate of at least one event."""
        expected = f'expected a rate such as "10/s", "100/15m" or "5000/1h", got {text!r}'
        if not isinstance(text, str) or not re.fullmatch(_RATE, text) or text.startswith("0"):
            raise ValueError(expected)
        limit, _, period = text.partition("/")
        self.limit = int(limit)
        self.period = Duration(period if period[0].isdigit() else f"1{period}")
        if not self.period:
            raise ValueError(expected)

    def __str__(self) -> str:
        """Return the text of the file."""
        return f"{self.limit}/{self.period}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and (self.limit, self.period) == (other.limit, other.period)

    def __hash__(self) -> int:
        return hash((self.limit, self.period))
