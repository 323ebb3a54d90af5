"""The list of all settings with their values and meanings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from configs.masking import masked, masked_options
from configs.settings import Settings


def setting_lines(section: BaseModel, prefix: str = "") -> Iterator[str]:
    """Write a section and those below it, each setting with its value and its meaning."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from setting_lines(value, f"{prefix}{name}.")
        elif isinstance(value, dict) and any(isinstance(table, BaseModel) for table in value.values()):
            for key, table in value.items():
                yield from setting_lines(table, f"{prefix}{name}.{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            shown = masked_options(value) if isinstance(value, dict) else shown
            yield masked(f"{prefix}{name} = {shown}") + f"\n    {field.description}"


def shown_settings(settings: Settings) -> dict[str, object]:
    """Write every setting for JSON, without secrets."""
    shown: dict[str, Any] = settings.model_dump(mode="json")
    shown["spark"]["options"] = masked_options(settings.spark.options)
    return shown
