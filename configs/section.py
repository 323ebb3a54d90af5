"""The base class of all sections of the configuration."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

# line breaks, NUL and the like, which have no business in a name; row_repairs.BREAKS says the same of raw rows
BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b\u2060\ufeff]")
PLAIN = ("int", "float", "bool")  # what pydantic would make of each other, and of texts


def _take_as_written(schema: Any) -> None:  # noqa: ANN401 - a tree of dictionaries and lists
    if isinstance(schema, dict):
        if schema.get("type") in PLAIN:
            schema["strict"] = True
        for part in schema.values():
            _take_as_written(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _take_as_written(part)


class Section(BaseModel):
    """A part of the configuration: frozen, an unknown key is an error, and so is a number that is none.

    Numbers, texts and truth values are taken as TOML writes them, so that ``true`` is not 1 and ``"5"`` is not 5; a
    whole number may stand for any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Build what validates it, with every number and truth value taken as it is written."""
        schema = handler(source)
        _take_as_written(schema)
        return schema


def _as_written(text: str) -> str:
    """Write a name as ids are: composed letters (NFC), and nothing around or inside that prints nothing."""
    if not text.strip() or text != text.strip() or BREAKS.search(text):
        raise ValueError("a name begins and ends with a sign that can be seen, and holds no line break or the like")
    return unicodedata.normalize("NFC", text)


Word = Annotated[str, AfterValidator(_as_written)]  # a name that must meet the same one elsewhere
Share = Annotated[float, Field(ge=0, le=1)]
Days = Annotated[int, Field(gt=0, le=3660)]
Count = Annotated[int, Field(gt=0, le=10**9)]
Money = Annotated[float, Field(ge=0, le=1e12)]  # account currency
