"""The base class of all sections of the configuration."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# line breaks, NUL and the like, which have no business in a name; row_repairs.BREAKS says the same of raw rows
BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b\u2060\ufeff]")


class Section(BaseModel):
    """A part of the configuration: frozen, an unknown key is an error, and so is a number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
