"""Evaluation of policies on logged randomised treatments, stored as a table, a picture and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from configs.counted import counted
from configs.settings import Settings
from features.storage.lake import Lake
from features.storage.whole_writes import write_bytes, write_text
from models.metrics.metric import Metric
from models.model_cards.pictures import policies_picture
from models.policy_value.policy_comparison import ESTIMATORS, Comparison, JudgedPolicy, compare_policies
from models.policy_value.policy_verdict import PolicyValue
from serving.policy_evaluation.evaluated_treatments import ALL, HOLDOUT, EvaluatedTreatments, evaluated_treatments
from serving.policy_evaluation.named_policies import standard_policies
from serving.policy_evaluation.own_policies import file_policy, rule_policy

FOLDER = "evaluations"


@dataclass(frozen=True)
class Wanted:
    """What to judge: rules and files beside the standard policies, and treatments by days and `which` they are."""

    rules: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    first: date | None = None
    last: date | None = None
    which: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was found: metrics by name, a table for people, where it is kept, and what should be known of it."""

    metrics: dict[str, Metric]
    table: list[dict[str, str]]
    outputs: dict[str, str]
    notes: list[str]


def evaluate(settings: Settings, lake: Lake, as_of: date, wanted: Wanted) -> Evaluation:
    """Judge the standard policies, and one's own, on the randomised treatments closed by a day.

    Raises
    ------
    InputError
        There are too few treatments, or a policy cannot be read.
    """
    found = evaluated_treatments(settings, lake, as_of, first=wanted.first, last=wanted.last, which=wanted.which)
    policies = standard_policies(settings, lake, found)
    policies += [rule_policy(found.treatments, text) for text in wanted.rules]
    policies += [file_policy(settings, found.treatments, path) for path in wanted.files]
    comparison = compare_policies(found.treatments, policies)
    told = [*_notes(settings, found, comparison)]
    outputs = _kept(settings, lake, as_of, found, comparison, told)
    return Evaluation(metrics_of(comparison), table_of(comparison), outputs, told)


def metrics_of(comparison: Comparison) -> dict[str, Metric]:
    """Name every figure: ``policy.<name>.value_ips``, ``….over_nobody_snips``, ``….over_best_constant_dr``."""
    metrics: dict[str, Metric] = {}
    for policy in comparison.policies:
        subject = f"policy.{_slug(policy.name)}"
        parts = {"value": policy.values, "over_nobody": policy.over_nobody, "over_best_constant": policy.over_best}
        for part, by_estimator in parts.items():
            for kind, word in ESTIMATORS.items():
                if by_estimator[kind].is_known:
                    metrics[f"{subject}.{part}_{word.lower()}"] = by_estimator[kind]
        size = policy.values["ips"].effective_sample_size
        metrics[f"{subject}.effective_users"] = Metric.exact(size, policy.values["ips"].n)
        metrics[f"{subject}.given_share"] = Metric.exact(policy.given, policy.values["ips"].n)
    return metrics


def table_of(comparison: Comparison) -> list[dict[str, str]]:
    """Write one row per policy for people: its values, and its leads where they are asked most."""
    return [
        {
            "policy": policy.name,
            "gives": f"{policy.given:.0%}",
            **{word: _short(policy.values[kind]) for kind, word in ESTIMATORS.items()},
            "over nobody (DR)": _short(policy.over_nobody["doubly_robust"]),
            f"over {comparison.best} (DR)": _short(policy.over_best["doubly_robust"]),
            "effective users": f"{policy.values['ips'].effective_sample_size:,.0f}",
        }
        for policy in comparison.policies
    ]


def _short(value: PolicyValue) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" if value.is_known else value.why_unknown


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")


def _notes(settings: Settings, evaluated: EvaluatedTreatments, comparison: Comparison) -> Iterator[str]:
    frame = evaluated.treatments.frame
    users, days = frame["user_id"].nunique(), sorted(frame["day"].unique())
    span = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
    measured = (
        "as they state it" if evaluated.is_stated else f"by the money of {settings.churn.horizon_days} days of events"
    )
    treatments = f"{counted(len(frame), 'randomised treatment')} of {counted(users, 'user')}"
    yield f"{treatments}, {span}, outcome {measured}, {settings.currency} a decision"
    if evaluated.which == HOLDOUT:
        yield "they are the holdout: no model learnt from them"
    elif evaluated.which != ALL:
        yield f"the champion of {evaluated.trained_on} learnt from none of them: they were decided since"
    elif evaluated.trained_on is not None:
        yield "the champion learnt from some of them, so that its policy is learnt anew, user folds apart, to be judged"
    yield (
        f"{comparison.best} is the best constant on these very treatments, with hindsight; a lead is paired, and rows "
        "of one user hang together in every interval"
    )
    yield from (f"{policy.name}: {policy.note}" for policy in comparison.policies if policy.note)
    yield from comparison.warnings


def _kept(
    settings: Settings,
    lake: Lake,
    as_of: date,
    evaluated: EvaluatedTreatments,
    comparison: Comparison,
    notes: Sequence[str],
) -> dict[str, str]:
    facts = {
        "as_of": str(as_of),
        "lots": {"which": evaluated.which, "rows": len(evaluated.treatments.frame), "is_stated": evaluated.is_stated},
        "currency": settings.currency,
        "best_constant": comparison.best,
        "policies": [_facts(policy) for policy in comparison.policies],
        "notes": list(notes),
    }
    with lake.whole_folder(FOLDER, f"day={as_of}") as folder:
        write_text(folder / "policies.json", json.dumps(facts, indent=1) + "\n")
        write_text(folder / "policies.md", _markdown(comparison, notes))
        write_bytes(folder / "policies.png", policies_picture(comparison, settings.currency))
    place = lake.path(FOLDER, f"day={as_of}")
    return {
        name: str(place / f"policies.{ending}")
        for name, ending in (("table", "md"), ("picture", "png"), ("figures", "json"))
    }


def _facts(policy: JudgedPolicy) -> dict[str, object]:
    parts = {"values": policy.values, "over_nobody": policy.over_nobody, "over_best_constant": policy.over_best}
    return {
        "name": policy.name,
        "given_share": round(policy.given, 6),
        "unseen_share": round(policy.unseen, 6),
        **{
            part: {word: _known(by_estimator[kind]) for kind, word in ESTIMATORS.items()}
            for part, by_estimator in parts.items()
        },
    }


def _known(value: PolicyValue) -> dict[str, float | None]:
    """Return a value for JSON; what is not known is null."""
    if not value.is_known:
        return {"value": None, "low": None, "high": None, "n": value.n}
    return {**value.as_dict()}


def _markdown(comparison: Comparison, notes: Sequence[str]) -> str:
    rows = table_of(comparison)
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])
