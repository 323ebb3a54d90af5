"""How good each model is, and how reliable the effect of each offer, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from configs.offers import Catalogue
from models.effects.average_effect import AverageEffect
from models.effects.observational_effects import MIN_CONTROL, MIN_TREATED
from models.metrics.evaluation import fit_verdict, ranking_verdict
from models.metrics.metric import Leak, Metric
from models.training_run.training_record import ModelRecord, TrainingRecord
from serving.wording.rendering import Words

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
TOO_FEW = "Not enough data: an effect needs {treated} comparable users with it and {control} without."
STAY = {
    "unknown": "Its effect could be anything: between {low} and {high} more of 100 stay.",
    "up": "It keeps users: between {low} and {high} more of 100 stay.",
    "down": "It drives users away: between {low} and {high} more of 100 stay.",
}
MARGIN = {
    "unknown": "Its effect could be anything between {low} and {high} {currency} a head: treat it as a bet, not as a "
    "fact.",
    "up": "It adds margin, between {low} and {high} {currency} a head before costs.",
    "down": "It loses margin, between {low} and {high} {currency} a head before costs.",
}
MARGIN_AS_COMPARED = {
    "up": "It adds margin, between {low} and {high} {currency} a head before costs, as far as an adjusted comparison "
    "can tell.",
    "down": "It loses margin, between {low} and {high} {currency} a head before costs, as far as an adjusted "
    "comparison can tell.",
}


@dataclass(frozen=True)
class Subject:
    """How one model is judged, and which plainer rules stand beside it (metrics of `PLAIN`)."""

    measure: str
    plain: tuple[str, ...] = ()


SUBJECTS = {
    "churn": Subject("auc", ("auc_recency", "auc_logistic")),
    "churn_cause": Subject("auc"),
    "value": Subject("r_squared", ("r_squared_pace",)),
    "redemption": Subject("auc", ("auc_past_redemptions",)),
}
QUESTIONS = {
    "churn": "Who will leave?", "churn_cause": "Do payments make them leave?", "value": "What is staying worth?",
    "redemption": "Who will use an offer?",
}  # fmt: skip
PLAIN = {
    "auc_recency": "days since last active, nothing else", "auc_logistic": "a logistic regression",
    "r_squared_pace": "everybody goes on at their own pace",
    "auc_past_redemptions": "offers used before, nothing else",
}  # fmt: skip


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


def verdicts(training: TrainingRecord, words: Words) -> dict[str, Verdict]:
    """Judge every model of a training, by subject."""
    return {
        name: _verdict(name, subject, training.models[name], words)
        for name, subject in SUBJECTS.items()
        if name in training.models
    }


def _verdict(name: str, subject: Subject, model: ModelRecord, words: Words) -> Verdict:
    metrics = {key.removeprefix(f"{name}."): metric for key, metric in model.metrics.items()}
    metric = metrics[subject.measure]
    kind = model.champion.removeprefix(f"{name}-").split("-")[0]
    code = ranking_verdict(metric) if subject.measure == "auc" else fit_verdict(metric)
    code = "not_known" if math.isnan(metric.value) else "is_average" if kind == "mean" else code
    rules = {key: words.say(PLAIN[key]) for key in subject.plain}
    plain = [(told, metrics[key]) for key, told in rules.items() if key in metrics and not key.endswith(kind)]
    return Verdict(
        name, words.say(QUESTIONS[name]), model.champion, words.say(KINDS.get(kind, kind)), model.reason,
        code, words.language.verdicts[code], metric, metrics, plain, model.leaks,
    )  # fmt: skip


def trust_in_offers(training: TrainingRecord | None, catalogue: Catalogue, words: Words) -> list[Trust]:
    """Say of every offer that is known or was measured how far its effect can be trusted."""
    effects = {effect.offer_id: effect for effect in training.effects} if training else {}
    known = dict.fromkeys([*catalogue.titles, *effects])
    return [_trust(words.titles.get(offer_id, offer_id), effects.get(offer_id), words) for offer_id in known]


def _trust(title: str, effect: AverageEffect | None, words: Words) -> Trust:
    if effect is None:
        few = words.say(TOO_FEW, treated=MIN_TREATED, control=MIN_CONTROL)
        return Trust(title, "none", words.say(EVIDENCE["none"]), few)
    told = words.say(EVIDENCE.get(effect.evidence, effect.evidence))
    if effect.margin is None:
        return Trust(title, effect.evidence, told, stay_words(effect.retention, words), effect)
    return Trust(title, effect.evidence, told, effect_words(effect.margin, effect.evidence, words), effect)


def stay_words(retention: Metric, words: Words) -> str:
    """Say what an interval of the share of users who stay allows, where no money is known.

    Examples
    --------
    >>> from serving.wording.language_file import load_language
    >>> stay_words(Metric(0.046, 0.02, 0.072, 100), Words(load_language("en")))
    'It keeps users: between +2.0 and +7.2 more of 100 stay.'
    """
    way = _way(retention)
    return words.say(STAY[way], low=words.figures.points(retention.low), high=words.figures.points(retention.high))


def effect_words(margin: Metric, evidence: str, words: Words) -> str:
    """Say what an interval of the margin a head, before discounts and contacts are paid, allows.

    Examples
    --------
    >>> from serving.wording.language_file import load_language
    >>> effect_words(Metric(1.0, -2.4, 6.0, 100), "observational", Words(load_language("en"), currency="USD"))
    'Its effect could be anything between −2.40 and +6.00 USD a head: treat it as a bet, not as a fact.'
    """
    way, shown = _way(margin), words.figures.a_head
    told = MARGIN[way] if evidence == "randomised" else MARGIN_AS_COMPARED.get(way, MARGIN[way])
    return words.say(told, low=shown(margin.low), high=shown(margin.high), currency=words.currency)


def _way(metric: Metric) -> str:
    return "unknown" if metric.low <= 0 <= metric.high else "up" if metric.low > 0 else "down"
