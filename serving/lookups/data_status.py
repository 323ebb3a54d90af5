"""The status of a data folder: its days, the champions and since when, and who pinned one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from math import isfinite
from typing import TypeVar

from configs.errors import InputError
from features.storage.lake import Lake
from models.champion_gate.promotion_log import GATE, Promotion, promotion_log
from models.registry.registry_state import RegisteredModel, registered_models
from models.training_run.training_record import TrainingRecord, latest_training, lost_training

TABLES = ("events", "treatments", "aggregates", "snapshots", "decisions")
Found = TypeVar("Found")


@dataclass(frozen=True)
class ModelStatus:
    """One model of the registry, and the promotion that made its champion; None where that was not ours."""

    model: RegisteredModel
    promotion: Promotion | None


@dataclass(frozen=True)
class DataStatus:
    """Days that each table holds, in order, every model of the registry, and the newest training.

    `faults` says of what could not be read or used why.
    """

    days: dict[str, list[date]]
    models: list[ModelStatus]
    training: TrainingRecord | None
    faults: list[str]


def data_status(lake: Lake, as_of: date) -> DataStatus:
    """Look into a data folder; the training is the newest on or before `as_of`."""
    faults: list[str] = []

    def asked(look: Callable[[], Found]) -> Found | None:
        try:
            return look()
        except InputError as error:
            faults.append(str(error))
            return None

    training = asked(lambda: latest_training(lake, as_of))
    log, registered = asked(lambda: promotion_log(lake)) or [], asked(lambda: registered_models(lake)) or []
    newest = {entry.subject: entry for entry in log}
    models = [ModelStatus(model, _reign(model, newest.get(model.subject))) for model in registered]
    faults += [model.fault for model in registered if model.fault]
    faults += (asked(lambda: lost_training(lake, as_of)) or []) if registered else []
    return DataStatus({table: lake.days(table) for table in TABLES}, models, training, faults)


def champion_lines(folder_status: DataStatus) -> dict[str, str]:
    """Say of every model who is champion since when and why, and what the newest training said where that is another.

    Of what the gate said the verdict is told, without the figures that it rests on: those are in `model_facts`.

    Returns
    -------
    Texts by their titles.
    """
    lines = dict(map(_champion_line, folder_status.models))
    for status in folder_status.models:
        if said := last_verdict(folder_status, status):
            lines[f"last training of {status.model.subject}"] = said
    return lines


def last_verdict(folder_status: DataStatus, status: ModelStatus) -> str:
    """Say what the newest training said of a model, where that is not why its champion became one; else nothing."""
    record = folder_status.training.models.get(status.model.subject) if folder_status.training is not None else None
    is_other = record is not None and (status.promotion is None or record.reason != status.promotion.reason)
    return _verdict(record.reason) if record is not None and is_other else ""


def _verdict(reason: str) -> str:
    return reason.partition(": ")[0]


def policy_line(folder_status: DataStatus) -> dict[str, str]:
    """Say which policy decides and which are on trial or retired; nothing where no policies were judged."""
    verdict = folder_status.training.verdict if folder_status.training is not None else None
    if verdict is None:
        return {}
    ladder = f"; {verdict.ladder}" if verdict.ladder is not None else ""
    told = f"; costs {verdict.costs}; {verdict.believed:.0%} of its effects promised" if verdict.is_corrected else ""
    return {"policy": f"{verdict.who_decides}{told}{ladder}"}


def policy_facts(folder_status: DataStatus) -> dict[str, object] | None:
    """Say the same to machines: the policy that decides, and every rung of the ladder."""
    verdict = folder_status.training.verdict if folder_status.training is not None else None
    if verdict is None:
        return None
    rungs = verdict.ladder.rungs if verdict.ladder is not None else ()
    return {
        "deployed": str(verdict.deployed), "costs": asdict(verdict.costs), "believed": verdict.believed,
        "ladder": [
            {
                "policy": str(rung.policy), "state": rung.state, "share": rung.share, "p_better": rung.p_better,
                "gain": {key: part if isfinite(part) else None for key, part in rung.gain.as_dict().items()},
            }
            for rung in rungs
        ],
    }  # fmt: skip


def persona_line(folder_status: DataStatus) -> dict[str, str]:
    """Say which personas the newest training found and how stable they are; nothing where it looked for none."""
    personas = folder_status.training.personas if folder_status.training is not None else None
    return {"personas": str(personas)} if personas is not None else {}


def persona_facts(folder_status: DataStatus) -> dict[str, object] | None:
    """Say the same to machines; None where no personas were looked for."""
    personas = folder_status.training.personas if folder_status.training is not None else None
    if personas is None:
        return None
    agreed = {"stability": personas.stability, "stability_shuffled": personas.by_chance}
    return {"names": [*personas.names], **{name: metric.as_dict() for name, metric in agreed.items()}}


def _champion_line(status: ModelStatus) -> tuple[str, str]:
    model, promotion = status.model, status.promotion
    version = model.named
    if version is None:
        return f"champion {model.subject}", f"none ({model.state})"
    since = plain_moment(promotion.since) if promotion else "an unknown time"
    why = f"{promotion_words(promotion)} ({promotion.by})" if promotion else "made champion outside of winback"
    pin = f"; {model.pin}" if model.pin else ""
    fault = f"; {model.state}" if model.fault else ""
    return f"champion {model.subject} since {since}", f"{version.name} (version {model.number}): {why}{pin}{fault}"


def plain_moment(instant: str) -> str:
    """Write an instant as people do, to the minute.

    Examples
    --------
    >>> plain_moment("2024-07-01T08:00:31+00:00")
    '2024-07-01 08:00 UTC'
    """
    return f"{datetime.fromisoformat(instant).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def promotion_words(promotion: Promotion) -> str:
    """Say why a model became champion; of what the gate said the verdict, without its figures."""
    return _verdict(promotion.reason) if promotion.by == GATE else promotion.reason


def model_facts(folder_status: DataStatus) -> dict[str, object]:
    """Say of every model what machines ask: its state, champion, since when, its pin, and what the gate said last."""
    return {
        each.model.subject: _facts(each) | {"last_training": _gate(folder_status, each)}
        for each in folder_status.models
    }


def _reign(model: RegisteredModel, promotion: Promotion | None) -> Promotion | None:
    return promotion if promotion is not None and promotion.version == model.number else None


def _facts(status: ModelStatus) -> dict[str, object]:
    model, promotion = status.model, status.promotion
    return {
        "state": str(model.state),
        "champion": model.named.name if model.named is not None else None,
        "version": model.number,
        "since": promotion.since if promotion else None,
        "reason": promotion.reason if promotion else None,
        "by": promotion.by if promotion else None,
        "pin": asdict(model.pin) if model.pin else None,
        "fault": model.fault or None,
    }


def _gate(folder_status: DataStatus, status: ModelStatus) -> dict[str, object] | None:
    record = folder_status.training.models.get(status.model.subject) if folder_status.training is not None else None
    if folder_status.training is None or record is None:
        return None
    metrics = {
        name: {key: number if isfinite(number) else None for key, number in metric.as_dict().items()}
        for name, metric in record.metrics.items()
    }
    return {
        "as_of": str(folder_status.training.as_of),
        "champion": record.champion,
        "gate": record.reason,
        "metrics": metrics,
    }
