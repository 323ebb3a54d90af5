"""Comparison of several policies on the same logged data, by three off-policy estimators."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from features.arrays.array_types import Places
from models.policy_value.logged_treatments import LoggedTreatments
from models.policy_value.off_policy import (
    ValueEstimator,
    doubly_robust_scores,
    doubly_robust_value,
    ips_value,
    snips_value,
    value_difference,
)
from models.policy_value.policy_verdict import NOBODY, PolicyValue, option_names
from models.policy_value.propensity_check import propensity_misfits

ESTIMATORS: dict[ValueEstimator, str] = {"ips": "IPS", "snips": "SNIPS", "doubly_robust": "DR"}
SELDOM = 0.02  # of the rows: a policy that wants what nobody could draw this often is told so
FEW_SPEAK, RARE = 300.0, 0.1  # effective users, and of all users: fewer of both are worth a word


@dataclass(frozen=True, eq=False)
class NamedPolicy:
    """A policy to judge: the option that it gives each row, 0 for nothing, (rows,); `note` is what to know of it."""

    name: str
    choice: Places
    note: str = ""


@dataclass(frozen=True)
class JudgedPolicy:
    """What a policy is worth a decision, by estimator, and how much more than nobody and the best constant is.

    `given` is the share of rows that get an offer, `unseen` that of rows for which the policy wants an option that
    nobody drew on their day: they count as given nothing.
    """

    name: str
    given: float
    unseen: float
    values: dict[ValueEstimator, PolicyValue]
    over_nobody: dict[ValueEstimator, PolicyValue]
    over_best: dict[ValueEstimator, PolicyValue]
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Policies as judged, the name of the best constant one, and what makes these figures doubtful."""

    policies: tuple[JudgedPolicy, ...]
    best: str
    warnings: tuple[str, ...] = field(default=())


def constants(treatments: LoggedTreatments) -> list[NamedPolicy]:
    """Name nobody and each option for everybody, as policies."""
    rows = len(treatments.frame)
    names = [NOBODY, *option_names(treatments.options)]
    return [NamedPolicy(name, np.full(rows, place, dtype=np.intp)) for place, name in enumerate(names)]


def best_option(treatments: LoggedTreatments, rows: np.ndarray) -> int:
    """Find the option that is worth most for everybody, *nothing* among them, by doubly robust scores of some rows."""
    scores = doubly_robust_scores(treatments.logged, treatments.predicted)[rows]
    could = treatments.had_chance[rows]
    means = np.where(could, scores, 0.0).sum(axis=0) / np.maximum(could.sum(axis=0), 1)
    return int(np.where(could.any(axis=0), means, -np.inf).argmax())


def compare_policies(treatments: LoggedTreatments, policies: list[NamedPolicy]) -> Comparison:
    """Judge policies on randomised treatments, each also against nobody and the constant one that is best on these.

    That rival is chosen with hindsight, so that a lead over it is no luck of the draw; all differences are paired, and
    rows of one user hang together in every interval.
    """
    fixed = constants(treatments)
    everything = np.ones(len(treatments.frame), dtype=bool)
    best = fixed[best_option(treatments, everything)]
    found = tuple(_judged(treatments, each, fixed[0], best) for each in policies)
    return Comparison(
        found, best.name, (*_doubts(treatments, fixed), *(word for each in found for word in _words(each, treatments)))
    )


def _judged(treatments: LoggedTreatments, policy: NamedPolicy, nobody: NamedPolicy, best: NamedPolicy) -> JudgedPolicy:
    rows, logged = np.arange(len(treatments.frame)), treatments.logged
    could = treatments.had_chance[rows, policy.choice]
    choice = np.where(could, policy.choice, 0)
    values: dict[ValueEstimator, PolicyValue] = {
        "ips": ips_value(logged, choice),
        "snips": snips_value(logged, choice),
        "doubly_robust": doubly_robust_value(logged, choice, treatments.predicted),
    }

    def over(rival: NamedPolicy) -> dict[ValueEstimator, PolicyValue]:
        return {
            kind: value_difference(logged, choice, rival.choice, estimator=kind, predicted=treatments.predicted)
            for kind in ESTIMATORS
        }

    return JudgedPolicy(
        policy.name, float((choice > 0).mean()), float((~could).mean()), values, over(nobody), over(best), policy.note
    )


def _doubts(treatments: LoggedTreatments, fixed: list[NamedPolicy]) -> list[str]:
    """Say of which options the chances do not fit how often they were drawn: every estimator rests on them."""
    users = treatments.logged.user_id.nunique()
    misfits = propensity_misfits(treatments.logged, treatments.frame["day"], [each.name for each in fixed])
    doubts = [str(each) for each in misfits]
    if not treatments.had_chance[:, 0].all():
        share = 1.0 - treatments.had_chance[:, 0].mean()
        doubts.append(
            f"on the days of {share:.1%} of the {users:,} users' rows nobody drew nothing, so that what giving nothing "
            "is worth there is not shown"
        )
    return doubts


def _words(policy: JudgedPolicy, treatments: LoggedTreatments) -> list[str]:
    words, users = [], treatments.logged.user_id.nunique()
    if policy.unseen > SELDOM:
        words.append(
            f"{policy.name} wants for {policy.unseen:.1%} of the rows what nobody drew on their day: they count as "
            "given nothing, and what it would be worth there is not known"
        )
    value = policy.values["ips"]
    if value.is_known and value.effective_sample_size < min(FEW_SPEAK, RARE * users):
        words.append(
            f"{policy.name} rests on {value.effective_sample_size:,.0f} effective users of {users:,}: what was drawn "
            "was seldom what it would give"
        )
    return words
