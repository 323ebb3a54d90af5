"""The rules by which a day was segmented, stored in the metadata of its table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from serving.segments.day_query import Cuts
from serving.segments.known_columns import Kind
from serving.segments.rules import Part, Rule, Segment, Split, Stage, Stages

NOTE = b"winback.segments"


@dataclass(frozen=True)
class DayRules:
    """Stages and segments of a day, and what they rest on.

    `kinds` are those of the columns that they read, `cuts` the numbers that split the day's users, and `left_out` says
    of each segment that the app cannot have which column it lacks.
    """

    stages: Stages
    segments: tuple[Segment, ...]
    kinds: Mapping[str, Kind]
    cuts: Cuts
    left_out: Mapping[str, str]

    def named(self, name: str) -> Segment | None:
        """Find a segment by its name."""
        return next((each for each in self.segments if each.name == name), None)

    def note(self) -> bytes:
        """Write them for the footer of a file."""
        stages = {"stages": [asdict(each) for each in self.stages.stages], "kinds": self.stages.kinds}
        segments = [asdict(each) for each in self.segments]
        cuts = [[column, share, number] for (column, share), number in sorted(self.cuts.items())]
        whole = {"stages": stages, "segments": segments, "cuts": cuts}
        whole |= {"kinds": self.kinds, "left_out": self.left_out}
        return json.dumps(whole, sort_keys=True).encode()

    @classmethod
    def of_note(cls, note: bytes) -> DayRules:
        """Read them back."""
        held = json.loads(note)
        stages = tuple(Stage(**_ruled(each)) for each in held["stages"]["stages"])
        segments = tuple(Segment(**_ruled(each)) for each in held["segments"])
        cuts = {(column, share): number for column, share, number in held["cuts"]}
        return cls(Stages(stages, held["stages"]["kinds"]), segments, held["kinds"], cuts, held["left_out"])


def _ruled(held: dict[str, Any]) -> dict[str, Any]:
    parts = tuple(
        Part(text, sql, tuple(columns), tuple(Split(*each) for each in splits))
        for text, sql, columns, splits in held["rule"]["parts"]
    )
    return {**held, "rule": Rule(held["rule"]["sql"], parts)}
