"""The comparison of a newly trained model with the current champion on the same test rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.storage.lake import Lake
from models.champion_gate.promotion_log import GATE, promotion_log
from models.learn.candidate_choice import interval_words
from models.learn.training import Trained, TrainedCandidate, generator, rows_of
from models.learn.trial import below_floor
from models.metrics.metric import Metric
from models.registry.artifact_digests import StoredVersion, damage_of
from models.registry.fold_models import IncomparableError, champion_scores, what_is_predicted
from models.registry.model_reader import load_version
from models.registry.registry_state import CHAMPION, RegisteredModel, registered_model

UNKNOWN = Metric(float("nan"), float("nan"), float("nan"), 0)


@dataclass(frozen=True)
class HeadToHead:
    """Scores of the champion on the test rows, `among` which they are honest, and the winner's gain over it there."""

    score: Floats
    among: Flags
    gain: Metric


@dataclass(frozen=True)
class Succession:
    """Who is champion after a training: a version, its name, and the training with the champion as its winner."""

    version: int
    name: str
    trained: Trained

    @property
    def reason(self) -> str:
        """Why it is champion."""
        return self.trained.verdict.reason


def meet_champion(lake: Lake, trained: Trained, version: int, settings: Settings) -> Succession:
    """Let the winner of a training, registered as a version, meet the champion.

    The winner takes its place where it is no worse on the same test rows: where the estimate of its gain is at least
    0. A champion that has proven itself so stays until it is matched, and a model with a worse measure never replaces a
    better one. Both are judged by the models of their cross-fits, which saw neither the time nor the user of a row
    (`fold_models.champion_scores`). A pinned champion stays, whatever the gain; one that cannot be judged or read is
    replaced; below the floor nobody takes anybody's place, and a champion that is itself below it keeps none: where
    the winner is, too, nobody is champion, and the verdict keeps its shortfall.

    Returns
    -------
    A rerun says the same: who is champion by the same training already meets again whom it replaced.
    """
    found = registered_model(lake, trained.subject)
    name = found.versions[version].name
    number = _rival(lake, found, version)
    if number is None:
        pinned = f"; {found.pin}" if found.pin is not None and found.pin.version == version else ""
        return Succession(version, name, _told(trained, f"{trained.verdict.reason}{pinned}"))
    rival, winner = found.versions[number], trained.verdict.winner
    met, below = None, ""
    try:
        met = _meet(lake, trained, rival, settings)
        words = f"{interval_words(trained.trial, met.gain)} test rows"
        below = _shortfall(lake, trained, number, met)
    except IncomparableError as error:
        words = f"it could not be compared, as {error}"
    if found.pin is not None and found.pin.version == number:
        why = f"{found.pin} ({winner} against it: {words})"
    elif below:
        return Succession(version, name, _taken_down(trained, rival.name, f"{below} ({words})", met))
    elif trained.verdict.shortfall:
        why = f"{winner} is not good enough, {trained.verdict.shortfall} ({words})"
    elif met is not None and met.gain.value < 0:
        why = f"{winner} is worse: {words}"
    else:
        before = f"the champion before, {rival.name}"
        said = f"no worse than {before}: {words}" if met else f"{before}, gives way: {words}"
        return Succession(version, name, _told(trained, f"{trained.verdict.reason}; {said}", met))
    kept = _as_winner(lake, _told(trained, f"{rival.name} stays champion, {why}", met), number, met, settings)
    return Succession(number, rival.name, kept)


def _rival(lake: Lake, model: RegisteredModel, version: int) -> int | None:
    """Find the champion that a version has to meet, or has met when it became champion itself; None without one."""
    pinned = model.pin.version if model.pin is not None else None
    if pinned in model.versions and not damage_of(lake, model.versions[pinned]):
        return pinned if pinned != version else None
    if model.fault:
        return None
    if model.number != version:
        return model.number
    past = [entry for entry in promotion_log(lake) if entry.subject == model.subject]
    is_ours = len(past) > 1 and past[-1].version == version and past[-1].by == GATE
    return past[-2].version if is_ours and past[-2].version in model.versions else None


def _meet(lake: Lake, trained: Trained, rival: StoredVersion, settings: Settings) -> HeadToHead:
    score, among = champion_scores(lake, rival, trained.trial, what_is_predicted(settings, trained.subject))
    rng = generator(settings, f"{trained.subject} champion")
    return HeadToHead(score, among, trained.trial.gain(trained.winner.test_score, score, among, settings, rng))


def _shortfall(lake: Lake, trained: Trained, number: int, met: HeadToHead) -> str:
    """Say why a champion is below the floor on the rows where it met a training; empty where it is not."""
    trial, among = trained.trial, met.among
    baselines = {name: score[among] for name, score in trial.baselines.items()}
    there = replace(trial, rows=rows_of(trial.rows, among), baselines=baselines)
    scores = {name: each.test_score[among] for name, each in trained.candidates.items()}
    families = {name: each.estimator.family for name, each in trained.candidates.items()}
    families[CHAMPION] = load_version(lake, trained.subject, number).estimator.family
    return below_floor(there, {**scores, CHAMPION: met.score[among]}, families).get(CHAMPION, "")


def _taken_down(trained: Trained, champion: str, below: str, met: HeadToHead | None) -> Trained:
    """Tell that a champion is not good enough any more: the winner takes its place, or nobody does."""
    said = f"the champion before, {champion}, is not good enough any more, {below}"
    shortfall = trained.verdict.shortfall
    found = _told(trained, f"{trained.verdict.reason}; {said}", met)
    return replace(found, verdict=replace(found.verdict, shortfall=f"{shortfall}; {said}" if shortfall else ""))


def _told(trained: Trained, reason: str, met: HeadToHead | None = None) -> Trained:
    """Give a training another reason, and the gain that it rests on."""
    measure = f"{trained.subject}.{trained.trial.decisive}_gain_over_champion"
    gains = {measure: met.gain} if met is not None else {}
    return replace(trained, verdict=replace(trained.verdict, reason=reason), metrics=trained.metrics | gains)


def _as_winner(lake: Lake, trained: Trained, number: int, met: HeadToHead | None, settings: Settings) -> Trained:
    """Let the champion be the winner of a training, with its own measures; they are unknown where it was not met."""
    trial, subject = trained.trial, trained.subject
    champion = load_version(lake, subject, number).estimator
    own = {f"{subject}.{name}": UNKNOWN for name in trial.measures}
    score, rows = np.zeros(len(trial.rows)), np.zeros(len(trial.rows), dtype=bool)
    if met is not None:
        rng = generator(settings, f"{subject} measures of the champion")
        own, score = trial.measured(met.score, settings, rng, met.among), met.score
        rows = trial.headline & met.among
    others = {name: metric for name, metric in trained.metrics.items() if not name.endswith("without_top_column")}
    return replace(
        trained,
        candidates={**trained.candidates, CHAMPION: TrainedCandidate(CHAMPION, champion, score)},
        verdict=replace(trained.verdict, winner=CHAMPION, shortfall=""),
        metrics=others | own,
        label=trial.label[rows],
        score=score[rows],
    )
