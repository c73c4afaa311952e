"""The base class of all tables of the file."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from scalekit.config.descriptions import descriptions
from scalekit.config.letter_case import ignore_case


class Table(BaseModel):
    """Base class of the tables of the file: frozen; unknown keys are errors.

    Each field has a docstring below it, which is its description in the JSON Schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def completed_by(self, other: Table) -> Self:
        """Return this table, where the file leaves out a key that *other* has too, with the value of *other*."""
        shared = type(self).model_fields.keys() & type(other).model_fields.keys()
        return self.model_copy(update={name: getattr(other, name) for name in shared - self.model_fields_set})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema with enumerated words in any letter case."""
        schema: CoreSchema = ignore_case(handler(source))
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON Schema with the description of each key."""
        result = handler(schema)
        described = descriptions(cls)
        for name, field in handler.resolve_ref_schema(result).get("properties", {}).items():
            field.setdefault("description", described.get(name, ""))
        return result
