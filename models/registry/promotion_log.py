"""Who was champion since when, and why: a file of our own beside MLflow's store, which keeps no history of aliases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from features.storage.lake import Lake
from features.storage.whole_writes import write_text


@dataclass(frozen=True)
class Promotion:
    """One line of the promotion log: `version` is champion of `subject` from `since` until the next line."""

    subject: str
    version: int
    name: str
    since: str
    reason: str


def log_promotion(lake: Lake, entry: Promotion) -> None:
    """Append one line."""
    lines = [json.dumps(asdict(each)) for each in (*promotion_log(lake), entry)]
    write_text(lake.path("mlflow", "promotions.jsonl"), "\n".join(lines) + "\n")


def promotion_log(lake: Lake) -> list[Promotion]:
    """Read who was champion from when, oldest first."""
    path = lake.path("mlflow", "promotions.jsonl")
    if not path.exists():
        return []
    return [Promotion(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
