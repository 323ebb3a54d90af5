"""Settings of Spark: its master, memory and options."""

from __future__ import annotations

from pydantic import Field

from configs.section import Section


class Spark(Section):
    """Where and how Spark runs, for `engine = "spark"`."""

    master: str = Field(description="`local[2]` and the like, or a cluster's address; empty where spark-submit says it")
    driver_memory: str = Field(description="memory of the driver, as Spark writes it; locally of everything")
    pieces: int = Field(gt=0, le=100_000, description="tasks that a step is shared out among at most; a few per core")
    options: dict[str, str] = Field(description="further properties of Spark, by their own names")
