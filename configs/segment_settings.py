"""Settings of segments and stages, and when a change of a segment's size counts as unusual."""

from __future__ import annotations

from pydantic import Field

from configs.section import Section


class Segments(Section):
    """Which groups of users an app knows, and what counts as an unusual change of one."""

    stages: str = Field(
        description="stages of the lifecycle: name of a file in configs/stages, or the path of a TOML file"
    )
    files: tuple[str, ...] = Field(
        description="segments: names of files in configs/segments, or paths of TOML files; a later table of the same "
        "name takes the place of an earlier one"
    )
    weeks: int = Field(ge=2, le=52, description="how many weeks before the day say how much a segment usually changes")
    min_weeks: int = Field(ge=2, le=52, description="fewer week-to-week changes than this tell nothing")
    min_users: int = Field(ge=1, le=10**9, description="a change by fewer users than this is never called unusual")
    limit: float = Field(
        gt=0, le=100, description="a week's change is unusual from this modified z-score on, against the weeks before"
    )
    audit_min_users: int = Field(
        ge=2, le=10**9, description="groups of fewer users than this are left out of the audit of fairness"
    )
    audit_gap: float = Field(
        ge=0,
        le=1,
        description="the audit names a group whose share of contacts differs from that of all by more than this, "
        "beyond chance",
    )
