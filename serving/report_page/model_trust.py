"""How good each model is, and how far the effect of each offer can be trusted, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from configs.offers import Catalogue
from configs.settings import Settings
from models.effects.average_effect import AverageEffect
from models.effects.observational_effects import MIN_CONTROL, MIN_TREATED
from models.metrics.evaluation import fit_verdict, ranking_verdict
from models.metrics.metric import Leak, Metric
from models.training_run.training_record import ModelRecord, TrainingRecord
from serving.wording.formatting import effect_words, stay_words
from serving.wording.language_file import ENGLISH, load_language

KINDS = {
    "logistic": "logistic regression", "lightgbm": "boosted trees (LightGBM)", "pace": "spending pace",
    "base_rate": "the same rate for everybody", "mean": "the mean of everybody",
}  # fmt: skip
EVIDENCE = {
    "randomised": "Given at random in the past, so a difference between those with and without it is its effect.",
    "observational": "Targeted in the past, not given at random: compared with similar users, adjusted by statistics. "
    "What was not recorded may still explain a difference.",
    "none": "Nothing is known about what it changes, so it is not given.",
}


@dataclass(frozen=True)
class Subject:
    """What one model answers, how it is judged and which plainer rules stand beside it (words by metric)."""

    question: str
    measure: str
    plain: Mapping[str, str]


SUBJECTS = {
    "churn": Subject(
        "Who will leave?",
        "auc",
        {"auc_recency": "days since last active, nothing else", "auc_logistic": "a logistic regression"},
    ),
    "churn_cause": Subject("Do payments make them leave?", "auc", {}),
    "value": Subject("What is staying worth?", "r_squared", {"r_squared_pace": "everybody goes on at their own pace"}),
    "redemption": Subject(
        "Who will use an offer?", "auc", {"auc_past_redemptions": "offers used before, nothing else"}
    ),
}


@dataclass(frozen=True)
class Verdict:
    """How good one model is: in a word, by number, and beside plainer rules; `leaks` may make it look better."""

    subject: str
    question: str
    champion: str
    kind: str
    reason: str
    code: str
    word: str
    metric: Metric
    metrics: dict[str, Metric]
    plain: list[tuple[str, Metric]]
    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True)
class Trust:
    """How far an offer's effect can be trusted; `effect` is None when nothing is known about it."""

    title: str
    evidence: str
    words: str
    verdict: str
    effect: AverageEffect | None = None

    @property
    def is_proven(self) -> bool:
        """Whether the offer was given at random and its effect on margin is distinguished from zero."""
        margin = self.effect.margin if self.effect is not None else None
        return self.evidence == "randomised" and margin is not None and margin.low > 0


def verdicts(training: TrainingRecord) -> dict[str, Verdict]:
    """Judge every model of a training, by subject."""
    return {
        name: _verdict(name, subject, training.models[name])
        for name, subject in SUBJECTS.items()
        if name in training.models
    }


def _verdict(name: str, subject: Subject, model: ModelRecord) -> Verdict:
    metrics = {key.removeprefix(f"{name}."): metric for key, metric in model.metrics.items()}
    metric = metrics[subject.measure]
    kind = model.champion.removeprefix(f"{name}-").split("-")[0]
    code = ranking_verdict(metric) if subject.measure == "auc" else fit_verdict(metric)
    code = "not_known" if math.isnan(metric.value) else "is_average" if kind == "mean" else code
    plain = [(words, metrics[key]) for key, words in subject.plain.items() if key in metrics and not key.endswith(kind)]
    return Verdict(
        name, subject.question, model.champion, KINDS.get(kind, kind), model.reason,
        code, load_language(ENGLISH).verdicts[code], metric, metrics, plain, model.leaks,
    )  # fmt: skip


def trust_in_offers(training: TrainingRecord | None, catalogue: Catalogue, settings: Settings) -> list[Trust]:
    """Say of every offer that is known or was measured how far its effect can be trusted."""
    titles = catalogue.titles
    effects = {effect.offer_id: effect for effect in training.effects} if training else {}
    return [
        _trust(titles.get(offer_id, offer_id), effects.get(offer_id), settings) for offer_id in {**titles, **effects}
    ]


def _trust(title: str, effect: AverageEffect | None, settings: Settings) -> Trust:
    if effect is None:
        few = f"Not enough data: an effect needs {MIN_TREATED} comparable users with it and {MIN_CONTROL} without."
        return Trust(title, "none", EVIDENCE["none"], few)
    evidence = effect.evidence
    if effect.margin is None:
        return Trust(title, evidence, EVIDENCE.get(evidence, evidence), stay_words(effect.retention), effect)
    verdict = effect_words(effect.margin, evidence, settings.currency)
    return Trust(title, evidence, EVIDENCE.get(evidence, evidence), verdict, effect)
