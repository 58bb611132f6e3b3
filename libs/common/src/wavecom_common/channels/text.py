"""Strings with a rule: how one is checked, and how the rule is written in JSON Schema."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# The type of every error raised here; its context's "must" completes a sentence that starts with the field's name.
RULE_BROKEN = "rule_broken"


@dataclass(frozen=True, slots=True)
class StringRule:
    """Annotates `str`: accepted when `complaint` returns None; else the text says what the value must be.

    `complaint` never repeats the value: it may be an address or a message.
    """

    complaint: Callable[[str], str | None]
    json_schema: dict[str, Any] = field(hash=False)

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checked after pydantic has made sure that it is a string."""
        complaint = self.complaint

        def check(value: str) -> str:
            must = complaint(value)
            if must is not None:
                raise PydanticCustomError(RULE_BROKEN, "{must}", {"must": must})
            return value

        return core_schema.no_info_after_validator_function(check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The rule as JSON Schema."""
        return {"type": "string", **self.json_schema}


def matching(pattern: str, *, max_length: int, must: str, description: str, example: str) -> StringRule:
    """A string that matches all of `pattern` (without anchors; read alike by Python and ECMA 262)."""
    matches = re.compile(pattern).fullmatch
    return StringRule(
        lambda value: None if len(value) <= max_length and matches(value) else must,
        {
            "pattern": f"^(?:{pattern})$",
            "maxLength": max_length,
            "description": description,
            "examples": [example],
        },
    )


def message_of(*, characters: int | None = None, utf8_bytes: int | None = None) -> StringRule:
    """A text that is not empty, holds no NUL, and stays within a limit of code points or of bytes in UTF-8."""
    limit = f"{characters:,} characters" if characters is not None else f"{utf8_bytes:,} bytes in UTF-8"

    def size_of(value: str) -> int:
        return len(value) if characters is not None else len(value.encode())

    most = characters if characters is not None else (utf8_bytes or 0)

    def complaint(value: str) -> str | None:
        if not value:
            return "must not be empty"
        if "\0" in value:
            return "must not contain NUL characters (U+0000)"
        # No character takes more than four bytes, so that most texts need no counting.
        if len(value) * 4 > most and (size := size_of(value)) > most:
            return f"must be at most {limit}; it has {size:,}"
        return None

    return StringRule(
        complaint,
        {
            "minLength": 1,
            "maxLength": most,
            "pattern": r"^[^\u0000]+$",
            "description": f"What is delivered: at most {limit}, without NUL characters.",
            "examples": ["Your order has been shipped!"],
        },
    )
