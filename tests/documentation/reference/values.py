"""The types and defaults of configuration keys in words of the file."""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, PlainValidator, SecretStr
from pydantic.fields import FieldInfo

from scalekit.config.path_glob import PathGlob
from scalekit.config.text_pattern import TextPattern
from scalekit.config.types import Duration, Rate, Size, SizeOrShare, TextValue
from scalekit.config.url import Url
from tests.documentation.reference.markdown import code

WORDS: dict[Any, str] = {
    Any: "any value",
    bool: "`true` or `false`",
    int: "integer",
    float: "number",
    str: "text",
    SecretStr: "secret text",
    Duration: 'duration, such as `"30s"`',
    Size: 'size in bytes, such as `"64KiB"`',
    SizeOrShare: 'size or share, such as `"20%"`',
    Rate: 'rate, such as `"100/m"`',
    PathGlob: "path pattern",
    IPv4Network: "network",
    IPv6Network: "network",
}
"""Words for the types of values; a subclass has those of its nearest base."""
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
UNITS: dict[Any, str] = {Duration: " s", Size: " bytes"}
"""Units of the bounds of values of a type."""


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models of the tables that a value of type *annotation* contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(model for part in get_args(annotation) for model in models_in(part)))


def type_of(field: FieldInfo) -> str:
    """Return the type of *field* with its bounds, such as ``integer, at least 1``."""
    text = _type(field.annotation, field.metadata)
    return ", ".join([text, *_bounds(field.metadata, UNITS.get(field.annotation, ""))])


def default_of(field: FieldInfo) -> str:
    """Return the default of *field* as TOML, or ``required`` or ``none``."""
    if field.is_required():
        return "required"
    value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg] # without arguments
    if value is None:
        return "none"
    return "defaults of its keys" if isinstance(value, BaseModel) else code(in_toml(value))


def in_toml(value: object) -> str:
    """Return *value* as it is written in the file."""
    match value:
        case TextValue():
            return json.dumps(str(value))
        case bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {in_toml(each)}" for key, each in value.items()) + "}"
        case tuple() | list():
            return f"[{', '.join(map(in_toml, value))}]"
    return json.dumps(str(value))


def _type(annotation: Any, metadata: Sequence[Any]) -> str:
    expected = [each.expected for each in metadata if isinstance(each, TextPattern)]
    if expected:
        return f"text: {expected[0]}"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is Literal:
        return " or ".join(code(json.dumps(word)) for word in arguments)
    if origin in (Union, types.UnionType):
        words = dict.fromkeys(_type(each, ()) for each in arguments if each is not type(None))
        return " or ".join(words)
    if origin in (tuple, list):
        return f"list of {_type(arguments[0], ())}"
    if origin is dict:
        key, value = (_type(each, ()) for each in arguments)
        return f"table; keys: {key}; values: {value}"
    return _plain(annotation)


def _annotated(annotation: Any, metadata: Sequence[Any]) -> str:
    flat = [inner for each in metadata for inner in (each.metadata if isinstance(each, FieldInfo) else [each])]
    written = [each.json_schema_input_type for each in flat if isinstance(each, PlainValidator)]
    networks = {IPv4Network, IPv6Network}.intersection(get_args(annotation))
    kind = annotation if not written or (networks and written[0] is str) else written[0]
    return ", ".join([_type(kind, flat), *_bounds(flat)])


def _plain(kind: Any) -> str:
    if kind is Any:
        return WORDS[kind]
    if issubclass(kind, BaseModel):
        return "table, below"
    if issubclass(kind, Url):
        return f"URL, such as `{json.dumps(kind.EXAMPLE)}`"
    for base in kind.__mro__:
        if base in WORDS:
            return WORDS[base]
    raise LookupError(f"no words for values of type {kind.__name__}; add them to WORDS")


def _bounds(metadata: Sequence[Any], unit: str = "") -> list[str]:
    """Return the bounds in *metadata*, of numbers in *unit* and of lengths."""
    bounds = [
        f"{words} {getattr(each, name):,}{unit}"
        for each in metadata
        for name, words in BOUNDS.items()
        if hasattr(each, name)
    ]
    lengths = [each.min_length for each in metadata if getattr(each, "min_length", 0)]
    return bounds + ["not empty" if length == 1 else f"length at least {length}" for length in lengths]
