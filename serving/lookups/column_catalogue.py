"""The catalogue of columns: the meaning, window, role and view of every column of a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import Feature
from features.materialise.user_traits import user_traits
from features.storage.lake import Lake


def column_catalogue(settings: Settings, lake: Lake) -> list[Feature]:
    """List the columns of a snapshot; traits are among them once users were ingested."""
    return declarations_of(settings).catalogue(user_traits(lake, settings))


def catalogue_lines(columns: Sequence[Feature]) -> Iterator[str]:
    """Write the catalogue as a table."""
    width = max(len(column.name) for column in columns)
    yield f"{'column':<{width}}  {'window':<15} {'role':<16} {'view':<10} meaning"
    for column in columns:
        yield f"{column.name:<{width}}  {column.window:<15} {column.role:<16} {column.view:<10} {column.meaning}"


def catalogue_rows(columns: Sequence[Feature]) -> list[dict[str, str]]:
    """Write the catalogue for machines."""
    names = ("name", "meaning", "window", "role", "view")
    return [{name: getattr(column, name) for name in names} for column in columns]
