"""Who was champion since when, and why: a file of our own beside MLflow's store, which keeps no history of aliases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from features.storage.lake import Lake

LOG = "mlflow/promotions.jsonl"


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
    lake.files.append(LOG, f"{json.dumps(asdict(entry))}\n".encode())


def promotion_log(lake: Lake) -> list[Promotion]:
    """Read who was champion from when, oldest first."""
    lines = lake.files.read(LOG).decode().splitlines() if lake.files.exists(LOG) else []
    return [Promotion(**json.loads(line)) for line in lines]
