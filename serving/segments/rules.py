"""Compiled rules: SQL expressions for DuckDB and their comparisons, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from features.arrays.array_types import Texts
from features.storage.whole_writes import content_hash
from serving.segments.known_columns import PREDICTED, Kind

if TYPE_CHECKING:
    import pandas as pd

QUINTILE = "quintile"
FIFTHS = (0.2, 0.4, 0.6, 0.8)
ARROW: dict[Kind, pa.DataType] = {"number": pa.float64(), "flag": pa.float64(), "text": pa.string()}


class Split(NamedTuple):
    """A number that splits all users of a day who have a column, and not 0 in it.

    What `share` of them do not exceed; or without a share the fifth that each user is in, 1 the lowest.
    """

    column: str
    share: float | None

    @property
    def name(self) -> str:
        """Column that holds it."""
        return f"{self.column}@{QUINTILE if self.share is None else self.share}"

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of the users at which it splits."""
        return FIFTHS if self.share is None else (self.share,)


class Part(NamedTuple):
    """A comparison of a rule: what stands there, how DuckDB is asked, and the columns and splits that decide it."""

    text: str
    sql: str
    columns: tuple[str, ...]
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class Rule:
    """A checked expression: how DuckDB is asked, what it reads, and the comparisons that it is made of."""

    sql: str
    parts: tuple[Part, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that it compares with."""
        return tuple(dict.fromkeys(split for part in self.parts for split in part.splits))


@dataclass(frozen=True)
class Stage:
    """One stage, by its name, what people call it, and who is in it; `shown` is its place where they are listed."""

    name: str
    title: str
    meaning: str
    rule: Rule
    shown: int = 0


@dataclass(frozen=True)
class Stages:
    """The stages of an app in the order in which they are asked; `kinds` are those of the columns that they read."""

    stages: tuple[Stage, ...]
    kinds: dict[str, Kind]

    @property
    def sql(self) -> str:
        """Expression that tells a user's stage."""
        cases = " ".join(f"WHEN {each.rule.sql} THEN '{each.name}'" for each in self.stages)
        return f"CASE {cases} END"

    @property
    def listed(self) -> list[Stage]:
        """List the stages in the order in which people read them."""
        return sorted(self.stages, key=lambda stage: stage.shown)

    @property
    def columns(self) -> list[str]:
        """Columns of the snapshot that the rules read."""
        return [*self.kinds]

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with the rules."""
        return content_hash(text=self.sql)[:8]

    def of(self, frame: pd.DataFrame) -> Texts:
        """Tell the stage of each user of a frame, shape (users,); of a column that it lacks nothing is known."""
        arrays = [
            pa.array(frame[name], ARROW[kind], from_pandas=True) if name in frame else pa.nulls(len(frame), ARROW[kind])
            for name, kind in self.kinds.items()
        ]
        users = pa.table([*arrays, pa.array(np.arange(len(frame)))], names=[*self.kinds, "place"])
        with duckdb.connect() as connection:
            connection.register("users", users)
            found = connection.execute(f"SELECT {self.sql} AS stage FROM users ORDER BY place")
            stages: Texts = found.to_arrow_table()["stage"].to_pandas().to_numpy(dtype=object)
            return stages

    def parts_of(self, name: str) -> tuple[Part, ...]:
        """List the comparisons of a stage's rule."""
        return next((each.rule.parts for each in self.stages if each.name == name), ())


@dataclass(frozen=True)
class Segment:
    """A segment of a day: its name, what people call it, who is in it, and the rule that says so.

    `digest` changes with whatever decides who is in it but the users themselves.
    """

    name: str
    title: str
    meaning: str
    group: str
    rule: Rule
    digest: str

    @property
    def is_predicted(self) -> bool:
        """Whether it rests on what is known only once a day is decided."""
        return any(name in PREDICTED for name in self.rule.columns)
