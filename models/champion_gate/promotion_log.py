"""The history of champions and the reason of each, in a file of its own, as MLflow keeps no history of aliases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from configs.errors import InputError
from features.storage.lake import Lake

LOG = "mlflow/promotions.jsonl"
GATE = "the gate"


@dataclass(frozen=True)
class Promotion:
    """One line of the promotion log: `version` is champion of `subject` from `since` until the next line.

    `by` names the person who chose it, or the gate.
    """

    subject: str
    version: int
    name: str
    since: str
    reason: str
    by: str = GATE


def log_promotion(lake: Lake, entry: Promotion) -> None:
    """Append one line."""
    lake.files.append(LOG, f"{json.dumps(asdict(entry))}\n".encode())


def promotion_log(lake: Lake) -> list[Promotion]:
    """Read who was champion from when, oldest first.

    Raises
    ------
    InputError
        A line is damaged.
    """
    lines = lake.files.read(LOG).splitlines() if lake.files.exists(LOG) else []
    read, found = TypeAdapter(Promotion), []
    for number, line in enumerate(lines, 1):
        try:
            found.append(read.validate_json(line))
        except ValidationError as error:
            raise InputError(
                f"line {number} of {lake.path(LOG)} is no promotion; remove that line (the registry itself "
                "knows who is champion; the file alone knows who was)"
            ) from error
    return found
