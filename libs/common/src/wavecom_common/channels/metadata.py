"""`metadata`: a JSON object of the client's own, checked so that every store and reader after us can hold it."""

import re
from typing import Annotated, Any, Final

import orjson
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from wavecom_common.channels.text import RULE_BROKEN

MAX_BYTES: Final = 8 * 1024
MAX_DEPTH: Final = 8
MAX_KEY_CHARACTERS: Final = 128
MIN_NUMBER: Final = -(2**63)
MAX_NUMBER: Final = 2**63 - 1

KEY_PATTERN: Final = rf"[^$.\u0000][^.\u0000]{{0,{MAX_KEY_CHARACTERS - 1}}}"
_is_key = re.compile(KEY_PATTERN).fullmatch
_BAD_KEY: Final = (
    f'must have keys of 1 to {MAX_KEY_CHARACTERS} characters that do not start with "$" and hold no "." and no NUL'
)


class _MetadataRule:
    """Annotates `str`: validates an object and gives its compact JSON text, ready to travel in an event."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            _to_json, core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            **handler(_DOCUMENTED.core_schema),
            "description": (
                f"Data of your own, returned as it is. At most {MAX_BYTES:,} bytes as compact JSON, {MAX_DEPTH} levels."
            ),
            "examples": [{"orderId": "12345", "userId": "user-abc"}],
        }


# The same rule as a type, of which pydantic makes the JSON Schema; validating with it would cost ten times our walk.
_Key = Annotated[str, Field(pattern=f"^{KEY_PATTERN}$")]
_Number = Annotated[float, Field(ge=MIN_NUMBER, le=MAX_NUMBER)]
_Object = Annotated[dict[_Key, "MetadataValue"], Field(json_schema_extra={"additionalProperties": False})]
MetadataValue = TypeAliasType("MetadataValue", "str | _Number | bool | list[MetadataValue] | _Object | None")
_DOCUMENTED: Final[TypeAdapter[Any]] = TypeAdapter(_Object)

MetadataJson = Annotated[str, _MetadataRule()]


def _to_json(value: dict[str, Any]) -> str:
    complaint = _complaint(value, 1)
    if complaint is None and len(text := orjson.dumps(value)) > MAX_BYTES:
        complaint = f"must be at most {MAX_BYTES:,} bytes as compact JSON; it has {len(text):,}"
    if complaint is not None:
        raise PydanticCustomError(RULE_BROKEN, "{must}", {"must": complaint})
    return text.decode()


def _complaint(value: object, depth: int) -> str | None:
    if isinstance(value, dict | list):
        return _complaint_about_container(value, depth)
    # Comparing a NaN gives False: it is refused here, too.
    if isinstance(value, int | float) and not MIN_NUMBER <= value <= MAX_NUMBER:
        return "must have finite numbers that fit 64 bits, from -2^63 to 2^63-1"
    return None


def _complaint_about_container(value: dict[str, Any] | list[Any], depth: int) -> str | None:
    if depth > MAX_DEPTH:
        return f"must be nested at most {MAX_DEPTH} levels deep"
    if isinstance(value, dict) and not all(map(_is_key, value)):
        return _BAD_KEY
    children = value.values() if isinstance(value, dict) else value
    return next((found for child in children if (found := _complaint(child, depth + 1)) is not None), None)
