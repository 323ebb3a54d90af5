"""Guards of models: whether a model may decide today, tested on a sample of the day's users.

A champion that cannot be read, or for which a guard of mode ``stop`` fires, is replaced by the last good version before
it, then by the recency rule (for risk) or by no model; what was used instead, and why, is stored as a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial

import numpy as np
import pandas as pd

from configs.errors import InputError
from configs.guard_settings import Guard, Guards
from features.arrays.array_types import Floats
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash
from models.champion_gate.drift_reference import scores_about
from models.champion_gate.promotion_log import promotion_log
from models.learn.churn import TARGET
from models.learn.recency_rule import RecencyRule
from models.learn.redemption import OPTION
from models.metrics.drift import Drift, expected_auc
from models.metrics.recency_table import RecencyTable
from models.registry.artifact_digests import UnreadableModelError
from models.registry.model_reader import ModelLineage, Registered, load, load_version
from models.registry.registry_state import ModelState, RegisteredModel, registered_model
from models.registry.response import ResponseModels, response_with
from serving.guards.guard_findings import FIRED, PASSED, UNKNOWN, Finding, found_by

NO_VERSION = 0  # of a rule, which the registry does not know


@dataclass(frozen=True)
class ChosenModel:
    """What decides in the place of one model: a champion, or what stands in for it, which `fallback` then says."""

    model: Registered | None
    findings: tuple[Finding, ...] = ()
    fallback: str = ""


def choose_model(
    lake: Lake, subject: str, sample: pd.DataFrame, guards: Guards, rule: RecencyTable | None = None,
    realised: Callable[[Registered], list[Finding]] = lambda _: [], as_of: date = date.max,
) -> ChosenModel:  # fmt: skip
    """Take the champion of a model, or the last good one before it, or the rule, or none.

    Parameters
    ----------
    sample
        Some of the day's users, of whom something is predicted.
    rule
        Stands in where no version can be used; where it is None, the model is left out.
    realised
        Holds earlier predictions of a version against what happened.
    as_of
        The day that is decided. A model that was taught what came after it decides in hindsight: that is told, and
        nothing that tells of its quality is asked.

    Raises
    ------
    InputError
        The champion's alias is gone; or it cannot be used, and ``guards.fall_back`` is false.
    """
    found = registered_model(lake, subject)
    if found.is_none:
        return ChosenModel(None)
    kept: list[Finding] = []
    because = ""
    for number, read in _candidates(lake, found):
        try:
            model = read()
            own = model_findings(model, sample, guards)
            own = _in_hindsight(model, own) if model.lineage.as_of > as_of else [*own, *realised(model)]
            fault = "; ".join(each.brief for each in own if each.state == FIRED and each.mode == "stop")
        except InputError as error:
            if found.state == ModelState.NO_CHAMPION:
                raise
            model, own, fault = None, [], _portable(lake, error)
        kept += own
        if model is not None and not fault:
            return _chosen(subject, model, tuple(kept), because, number)
        if not guards.fall_back:
            raise InputError(f"the champion of {subject} may not decide: {fault}; or set guards.fall_back = true")
        because = because or fault
    if rule is None:
        said = Finding("champion", FIRED, "warn", 0.0, "without", subject, because=because)
        return ChosenModel(None, (*kept, said), f"{subject}: none")
    said = Finding("champion", FIRED, "warn", 0.0, "by_rule", subject, because=because)
    return ChosenModel(rule_model(subject, rule), (*kept, said), f"{subject}: rule of recency")


def choose_response(
    lake: Lake, offers: list[str], sample: pd.DataFrame, guards: Guards, as_of: date = date.max
) -> tuple[ResponseModels | None, ChosenModel]:
    """Take what is known about the response: a redemption model as `choose_model` does, and effects that can be read.

    Effects follow the verdict of their training, so that no earlier ones stand in for them: without, nobody is given
    anything but at random.
    """
    chosen = choose_model(lake, "redemption", sample, guards, as_of=as_of)
    try:
        return response_with(lake, chosen.model, offers), chosen
    except UnreadableModelError as error:
        if not guards.fall_back:
            raise
        said = Finding("champion", FIRED, "warn", 0.0, "without", "effects", because=_portable(lake, error))
        fallback = ", ".join(filter(None, (chosen.fallback, "effects: none")))
        chosen = replace(chosen, findings=(*chosen.findings, said), fallback=fallback)
        return response_with(lake, chosen.model, offers, has_effects=False), chosen


def model_findings(model: Registered, sample: pd.DataFrame, guards: Guards) -> list[Finding]:
    """Ask every model guard that is not off about the predictions of some users.

    Raises
    ------
    InputError
        The sample lacks a column of the model, or a prediction is not finite.
    """
    subject = model.lineage.subject
    if len(sample) < guards.min_rows:
        lack = Finding("score_drift", UNKNOWN, "warn", 0.0, "few_rows", subject, len(sample), guards.min_rows)
        return [replace(lack, guard=name) for name in asked_of_models(guards)]
    if model.reference is None and not set(OPTION).isdisjoint(model.estimator.columns):  # about which option?
        return [_untold(name, getattr(guards, name), model) for name in asked_of_models(guards)]
    option = model.reference.option if model.reference is not None else None
    score = scores_about(model.estimator, sample, option)
    if not np.isfinite(score).all():
        raise InputError(f"{np.count_nonzero(~np.isfinite(score)):,} of {len(score):,} predictions are not finite")
    asked = {
        "constant_scores": partial(constant_scores, model, score),
        "score_drift": partial(score_drift, model, score),
        "input_drift": partial(input_drift, model, sample),
        "expected_auc": partial(lower_auc, model, score),
    }
    found: list[Finding] = []
    for name, ask in asked.items():
        guard: Guard = getattr(guards, name)
        if guard.mode != "off":
            found += ask(guard) or [Finding(name, PASSED, guard.mode, guard.limit, subject=subject)]
    return found


def _in_hindsight(model: Registered, findings: list[Finding]) -> list[Finding]:
    """Say that a model was taught what came after the day; what tells how good it is there is left out."""
    said = Finding("champion", FIRED, "warn", 0.0, "hindsight", model.lineage.name, because=str(model.lineage.as_of))
    return [*(each for each in findings if each.guard == "constant_scores"), said]


def asked_of_models(guards: Guards) -> list[str]:
    """Name the guards of predictions that are on."""
    names = ("constant_scores", "score_drift", "input_drift", "expected_auc")
    return [name for name in names if getattr(guards, name).mode != "off"]


def constant_scores(model: Registered, score: Floats, guard: Guard) -> list[Finding]:
    """Ask whether a model that is no constant, and told people apart at its training, tells anybody apart."""
    spread = float(np.ptp(score))
    was_alike = model.reference is not None and np.count_nonzero(model.reference.score.counts) == 1
    is_fired = spread <= guard.limit and model.estimator.family != "constant" and not was_alike
    return found_by("constant_scores", guard, is_fired, "constant_scores", model.lineage.name, float(score[0]), spread)


def score_drift(model: Registered, score: Floats, guard: Guard) -> list[Finding]:
    """Ask how far the scores lie from those of the training: `population_stability_index`."""
    if model.reference is None:
        return [_untold("score_drift", guard, model)]
    drift = model.reference.score.drift(pd.Series(score))
    return _drifted("score_drift", guard, "score_drift", model.lineage.name, drift)


def input_drift(model: Registered, sample: pd.DataFrame, guard: Guard) -> list[Finding]:
    """Ask of every column of a model how far it lies from that of the training."""
    if model.reference is None:
        return [_untold("input_drift", guard, model)]
    drifts = {column: bins.drift(sample[column]) for column, bins in model.reference.inputs.items()}
    if all(np.isnan(drift.moves) for drift in drifts.values()):
        return [_untold("input_drift", guard, model, "one_snapshot")]
    told = [
        finding for column, drift in drifts.items() if not np.isnan(drift.moves)
        for finding in _drifted("input_drift", guard, "input_drift", column, drift)
    ]  # fmt: skip
    return sorted(told, key=lambda each: (-each.value, each.subject))


def lower_auc(model: Registered, score: Floats, guard: Guard) -> list[Finding]:
    """Ask whether the scores promise to rank worse than they did at training, before any label is known (CBPE)."""
    if model.estimator.link != "logit":
        return []
    if model.reference is None:
        return [_untold("expected_auc", guard, model)]
    now, then = expected_auc(score), model.reference.expected_auc
    return found_by("expected_auc", guard, now < then - guard.limit, "expected_auc", model.lineage.name, now, then)


def rule_model(subject: str, rule: RecencyTable) -> Registered:
    """Wrap the rule of recency as a model, named after its table."""
    mark, never = content_hash(text=str(asdict(rule))), date(1970, 1, 1)
    lineage = ModelLineage(subject, "recency_rule", never, never, never, mark)
    return Registered(RecencyRule.of(rule, TARGET), NO_VERSION, lineage, {})


def _candidates(lake: Lake, model: RegisteredModel) -> Iterator[tuple[int, Callable[[], Registered]]]:
    """Name the versions that may decide: the champion, the same with its own notes, then those before it."""
    subject = model.subject
    champion = model.number if model.number is not None else NO_VERSION
    yield champion, lambda: load(lake, subject)
    earlier = [entry.version for entry in reversed(promotion_log(lake)) if entry.subject == subject]
    for number in dict.fromkeys([champion, *earlier]):
        if number in model.versions:
            yield number, partial(load_version, lake, subject, number)


def _portable(lake: Lake, error: InputError) -> str:
    """Say an error without the place of the data folder, which may be moved."""
    return str(error).replace(str(lake.root), lake.root.name)


def _chosen(subject: str, model: Registered, findings: tuple[Finding, ...], because: str, number: int) -> ChosenModel:
    if not because:
        return ChosenModel(model, findings)
    said = Finding("champion", FIRED, "warn", 0.0, "by_version", subject, float(number), because=because)
    return ChosenModel(model, (*findings, said), f"{subject}: version {number}")


def _drifted(name: str, guard: Guard, code: str, subject: str, drift: Drift) -> list[Finding]:
    return found_by(name, guard, drift.exceeds(guard.limit), code, subject, drift.index, drift.moves)


def _untold(name: str, guard: Guard, model: Registered, code: str = "no_reference") -> Finding:
    return Finding(name, UNKNOWN, guard.mode, guard.limit, code, model.lineage.name)
