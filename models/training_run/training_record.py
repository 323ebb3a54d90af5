"""The record of a training, which scoring, report and status read, with its pictures."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from configs.errors import InputError
from features.publishing.manifest import DamagedError
from features.storage.lake import Lake
from features.storage.whole_writes import write_bytes, write_text
from models.effects.average_effect import AverageEffect
from models.metrics.comeback_note import ComebackNote
from models.metrics.metric import Leak, Metric
from models.metrics.recency_table import RecencyTable
from models.personas.persona_note import PersonaNote
from models.policy_value.policy_verdict import PolicyVerdict
from models.registry.registry_state import registered_models

VERSION = 1  # of the record: another one is another shape
FILE = "training.json"
EFFECTS = "effects"  # of offers, on margin and on retention


@dataclass(frozen=True)
class ModelRecord:
    """How good the model of one subject is: its champion's name, why it is champion, and what was measured.

    `leaks` are columns that tell the label by themselves, so that the figures may be too good to be true.
    """

    champion: str
    reason: str
    metrics: dict[str, Metric]
    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True)
class Untrained:
    """A model that the data could not teach, why, and what that means for decisions; `EFFECTS` are one subject here."""

    subject: str
    reason: str
    meaning: str

    def __str__(self) -> str:
        return f"no model of {self.subject}: {self.reason}; so {self.meaning}"


@dataclass(frozen=True)
class TrainingRecord:
    """A training: its models by subject, average effects of offers, and the gate's verdict if it had an experiment.

    `untrained` are the models that it had to go on without, `recency` is the rule for where no model is usable, and
    `tastes` what was measured of those; `personas` says which were found, None where too few were active,
    and `comeback` who of the lapsed comes back, None where too few had lapsed.
    """

    as_of: date
    models: dict[str, ModelRecord]
    effects: tuple[AverageEffect, ...] = ()
    verdict: PolicyVerdict | None = None
    untrained: tuple[Untrained, ...] = ()
    version: int = VERSION
    recency: RecencyTable | None = None
    tastes: dict[str, Metric] = field(default_factory=dict)
    personas: PersonaNote | None = None
    comeback: ComebackNote | None = None

    def lack_of(self, subject: str) -> Untrained | None:
        """Say why there is no model of a subject; None where there is one."""
        return next((lack for lack in self.untrained if lack.subject == subject), None)

    @property
    def metrics(self) -> dict[str, Metric]:
        """Metrics of all models, of tastes and of personas."""
        of_models = {name: metric for model in self.models.values() for name, metric in model.metrics.items()}
        told = [each.metrics for each in (self.personas, self.comeback) if each is not None]
        return of_models | self.tastes | {name: metric for own in told for name, metric in own.items()}


def write_training(lake: Lake, record: TrainingRecord, pictures: dict[str, bytes]) -> Path:
    """Keep a training, in the place of an earlier one of its day; returns the folder.

    Parameters
    ----------
    pictures
        PNG bytes by name: ``<subject>_<what>``.
    """
    with lake.whole_folder("training", f"day={record.as_of}") as folder:
        for name, content in pictures.items():
            write_bytes(folder / f"{name}.png", content)
        write_text(folder / FILE, json.dumps(asdict(record), default=str, indent=1) + "\n")
    return training_folder(lake, record.as_of)


def latest_training(lake: Lake, as_of: date) -> TrainingRecord | None:
    """Read the newest training on or before a day; None when there is none.

    Raises
    ------
    InputError
        It is damaged, or another version of winback wrote it.
    """
    days = [day for day in trained_days(lake) if day <= as_of]
    return read_training(lake, days[-1]) if days else None


def read_training(lake: Lake, as_of: date) -> TrainingRecord:
    """Read the training of a day.

    Raises
    ------
    InputError
        It is damaged, or another version of winback wrote it.
    """
    path = training_folder(lake, as_of) / FILE
    again = f"run winback train-models --as-of {as_of} again"
    try:
        kept = json.loads(lake.files.read(f"training/day={as_of}/{FILE}"))
        found = kept.get("version", "none")
        record = _reader().validate_python(kept) if found == VERSION else None
    except (OSError, ValueError, AttributeError, DamagedError) as error:
        raise InputError(f"{path} is damaged; {again}") from error
    if record is None:
        raise InputError(f"{path} is a training record of version {found}, and this winback reads {VERSION}; {again}")
    return record


def lost_training(lake: Lake, as_of: date) -> list[str]:
    """Say that the record of the training is gone of which the newest models on or before a day are; mostly nothing.

    Raises
    ------
    InputError
        The registry's file is damaged.
    """
    tags = [version.tags for model in registered_models(lake) for version in model.versions.values()]
    days = [date.fromisoformat(tag["as_of"]) for tag in tags if "as_of" in tag]
    newest = max((day for day in days if day <= as_of), default=None)
    if newest is None or newest in trained_days(lake):
        return []
    return [
        f"models of {newest} are registered, and {training_folder(lake, newest)} is gone, so how good they are "
        f"cannot be told; run winback train-models --as-of {newest}, which registers no model twice"
    ]


def cold_start(closed: int, wanted: int, share: float) -> str:
    """Say how much more data the effects of offers need, and how to get it.

    Parameters
    ----------
    closed, wanted
        Treatments whose time is up, and ``response.min_treatments``.
    share
        ``scoring.exploration.share``.

    Examples
    --------
    >>> cold_start(280, 500, 0.0)
    '280 of 500 treatments (response.min_treatments) are over; set scoring.exploration.share to give offers at random'
    """
    more = "the randomised offers of scoring.exploration.share add more every day"
    todo = more if share else "set scoring.exploration.share to give offers at random"
    return f"{closed:,} of {wanted:,} treatments (response.min_treatments) are over; {todo}"


def picture_of(lake: Lake, record: TrainingRecord, name: str) -> bytes | None:
    """Read a picture of a training; None when there is no such picture."""
    picture = f"training/day={record.as_of}/{name}.png"
    return lake.files.read(picture) if lake.files.exists(picture) else None


def trained_days(lake: Lake) -> list[date]:
    """Days that have a training, in order."""
    found = []
    for name in lake.files.list(f"training/day=*/{FILE}"):
        with suppress(ValueError):  # a folder of somebody else's, which names no day
            found.append(date.fromisoformat(name.split("/")[1].removeprefix("day=")))
    return sorted(found)


def training_folder(lake: Lake, as_of: date) -> Path:
    """Folder of the training of a day."""
    return lake.path("training", f"day={as_of:%Y-%m-%d}")


@cache
def _reader() -> TypeAdapter[TrainingRecord]:
    return TypeAdapter(TrainingRecord)
