"""How often the 95% intervals of the policy value estimators hold the truth, on logged samples of a simulated app.

The members of one morning are the population. A logged sample draws as many of them with replacement, so that it is a
sample as the intervals mean it (of a population that stays the same they would cover too often), draws their offers
with known propensities, and lives the days after with luck of its own. Its outcome is margin less discounts and
contacts, and, for who is still here, what staying is worth: on average under an option exactly ``World.expected``
more than under nothing. What nobody's offers are worth is averaged over many silent lives; its error is printed.
Run as a script it prints one JSON object; ``--quick`` takes fewer users and samples, ``--samples 1000`` as many
samples as it says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.offers import NOTHING, load_catalogue
from configs.settings import Settings, load_settings
from features.definitions.labels import effect_days
from features.simulator.ground_truth import Truth
from features.simulator.simulated_day import Given, World
from features.simulator.simulator_run import at_random, new_world
from models.metrics.evaluation import Z
from models.policy_value.off_policy import (
    Logged,
    Target,
    ValueEstimator,
    doubly_robust_value,
    ips_value,
    snips_value,
    value_difference,
)
from models.policy_value.policy_verdict import PolicyValue

SETTINGS = load_settings("simulated", Path("nowhere"))
NOTHING_SHARE, LOOK_BACK, FOLDS = 0.2, 28, 5
ESTIMATORS: tuple[ValueEstimator, ...] = ("ips", "snips", "doubly_robust")
WISE, TEMPERATURE, UNIFORM = 0.7, 1.0, 0.3  # of the personal policy, and of the one that draws at random
Metrics = dict[str, dict[str, Any]]
Assignment = Callable[[World, float], tuple[Given, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Morning:
    """Members before their offers are drawn; `known` is what their past shows, shape (members, facts)."""

    world: World
    truth: Truth
    known: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """What nothing and every option truly bring against nothing; shape (members, 1 + options)."""
        return np.c_[np.zeros(len(self.truth.value)), self.truth.value]


@dataclass(frozen=True, eq=False)
class Sample:
    """Treatments of members drawn with replacement: who they are in the morning, what is logged, what is predicted."""

    rows: np.ndarray
    logged: Logged
    predicted: np.ndarray


def silent_morning(users: int, days: int, settings: Settings = SETTINGS) -> Morning:
    """Let an app live without a single offer; remember what each member spent and how often they came of late."""
    world = new_world(settings, load_catalogue("simulated"), users, days=days)
    spent, visits = np.zeros(users), np.zeros(users)
    for day in range(days):
        world, lived = world.live()
        if day >= days - LOOK_BACK:
            spent += lived.margin(settings.value.gross_margin)
            visits += lived.visits
    rows = np.flatnonzero(world.is_member)
    known = np.c_[spent, visits, days - world.people.joined][rows]
    world = some_users(world, rows)
    return Morning(world, world.expected(settings), known)


def some_users(world: World, rows: np.ndarray, seed: int | None = None) -> World:
    """Begin a world of some users, or of some of them twice, with luck of its own."""
    people, state = world.people.some(rows), world.state.some(rows)
    return replace(world, people=people, state=state, seed=world.seed if seed is None else seed)


def outcomes(world: World, remaining_value: np.ndarray, settings: Settings = SETTINGS) -> np.ndarray:
    """Live the days over which effects are counted and say what each user brought; shape (users,)."""
    brought = -np.r_[world.menu.contact_cost, 0.0][world.state.option]
    for _ in range(effect_days(settings)):
        world, day = world.live()
        brought += day.margin(settings.value.gross_margin) - day.discounts
    return brought + world.state.here * remaining_value


def logged_sample(morning: Morning, seed: int, size: int, assign: Assignment = at_random) -> Sample:
    """Draw users, their offers and their luck."""
    rows = np.random.default_rng([seed, *b"sample"]).integers(0, len(morning.known), size)
    world = some_users(morning.world, rows, seed)
    given, propensity = assign(world, NOTHING_SHARE)
    outcome = outcomes(world.decide(given), morning.truth.remaining_value[rows])
    logged = Logged(given.option + 1, propensity, outcome, pd.Series(world.user_ids))
    return Sample(rows, logged, cross_predicted(morning.known[rows], logged, len(world.menu)))


def cross_predicted(known: np.ndarray, logged: Logged, options: int) -> np.ndarray:
    """Predict every option's outcome by a line in the past and a level per option, each fold by the others' line."""
    fold = np.arange(len(logged)) % FOLDS
    past = np.c_[known, np.log1p(np.maximum(known, 0))]
    levels = np.eye(options + 1)
    predicted = np.zeros((len(logged), options + 1))
    for k in range(FOLDS):
        others = fold != k
        inputs = np.c_[past[others], levels[logged.action[others]]]
        line = np.linalg.lstsq(inputs, logged.outcome[others], rcond=None)[0]
        predicted[~others] = (past[~others] @ line[: past.shape[1]])[:, None] + line[past.shape[1] :]
    return predicted


def targets(morning: Morning) -> dict[str, Target]:
    """Four policies for the members: a constant, a rule, a personal one, and one that draws at random."""
    gain, members = morning.gain, len(morning.known)
    rng = np.random.default_rng([morning.world.seed, *b"targets"])
    spent, best = morning.known[:, 0], 1 + int(morning.truth.value.mean(axis=0).argmax())
    segment = morning.world.people.segment
    of_segment = np.array([gain[segment == each].mean(axis=0).argmax() for each in range(segment.max() + 1)])
    personal = np.where(rng.random(members) < WISE, of_segment[segment], rng.integers(0, gain.shape[1], members))
    keen = np.exp((gain - gain.max(axis=1, keepdims=True)) / TEMPERATURE)
    stochastic = (1 - UNIFORM) * keen / keen.sum(axis=1, keepdims=True) + UNIFORM / gain.shape[1]
    return {
        "constant": np.full(members, best),
        "rule": np.where(spent > np.median(spent), best, 0),
        "personal": personal,
        "stochastic": stochastic,
    }


def worth_more(morning: Morning, target: Target) -> float:
    """Mean true gain of a policy over nobody."""
    chances = np.eye(morning.gain.shape[1])[target] if target.ndim == 1 else target
    return float((chances * morning.gain).sum(axis=1).mean())


def worth_of_nobody(morning: Morning, lives: int) -> tuple[float, float]:
    """Mean outcome without offers over many silent lives of all members, and its standard error."""
    world = morning.world
    nobody = Given(np.full(len(morning.known), NOTHING, dtype=np.intp), np.full(len(morning.known), None, dtype=object))
    seeds = 500_000 + np.arange(lives)
    means = [
        outcomes(replace(world, seed=int(seed)).decide(nobody), morning.truth.remaining_value).mean() for seed in seeds
    ]
    return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(lives))


def estimates(sample: Sample, target: Target) -> Iterator[tuple[str, ValueEstimator, PolicyValue]]:
    """Value a policy on a sample by every estimator: in itself and against nobody."""
    logged, chosen = sample.logged, target[sample.rows]
    nobody = np.zeros(len(logged), dtype=np.intp)
    yield "value", "ips", ips_value(logged, chosen)
    yield "value", "snips", snips_value(logged, chosen)
    yield "value", "doubly_robust", doubly_robust_value(logged, chosen, sample.predicted)
    for name in ESTIMATORS:
        yield (
            "difference",
            name,
            value_difference(logged, chosen, nobody, estimator=name, predicted=sample.predicted),
        )


def coverage(found: list[PolicyValue], truth: float) -> dict[str, Any]:
    """Share of intervals that hold the truth with its own interval (Wilson 1927), and how far off the estimates are.

    `bias_in_errors` is the mean error in standard errors of that mean, `spread_of_errors` the standard deviation of
    the errors in the standard errors that the intervals claim: 1 when these are right.
    """
    value, low, high = (np.array([getattr(each, name) for each in found]) for name in ("value", "low", "high"))
    n, error = len(found), value - truth
    share = float(((low <= truth) & (truth <= high)).mean())
    middle, half = share + Z**2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    claimed = (high - low) / (2 * Z)
    return {
        "value": share,
        "low": float((middle - half) / (1 + Z**2 / n)),
        "high": float((middle + half) / (1 + Z**2 / n)),
        "n": n,
        "truth": round(truth, 4),
        "mean_error": round(float(error.mean()), 4),
        "bias_in_errors": round(float(error.mean() / (error.std(ddof=1) / np.sqrt(n))), 2),
        "spread_of_errors": round(float(error.std(ddof=1) / np.sqrt((claimed**2).mean())), 3),
        "half_width": round(float((high - low).mean() / 2), 4),
        "too_low": int((high < truth).sum()),
        "too_high": int((low > truth).sum()),
        "effective_users": round(float(np.mean([each.effective_sample_size for each in found]))),
    }


def covered(morning: Morning, samples: int, size: int, level: float, assign: Assignment = at_random) -> Metrics:
    """Value every target on every sample and compare with the truth; `level` is what nobody's offers are worth."""
    wanted = targets(morning)
    found: dict[tuple[str, str, str], list[PolicyValue]] = {}
    for seed in range(samples):
        sample = logged_sample(morning, 1_000 + seed, size, assign)
        for name, target in wanted.items():
            for what, estimator, value in estimates(sample, target):
                found.setdefault((what, estimator, name), []).append(value)
    truth = {name: worth_more(morning, target) for name, target in wanted.items()}
    return {
        f"policy_value.coverage_{what}_{estimator}_{name}": coverage(
            values, truth[name] + (level if what == "value" else 0.0)
        )
        for (what, estimator, name), values in found.items()
    }


def run(quick: bool = False, samples: int | None = None) -> Metrics:
    """Measure the coverage of every estimator and target."""
    users, usual, lives = (1_500, 20, 50) if quick else (10_000, 100, 200)
    morning = silent_morning(users, 56)
    members = len(morning.known)
    level, error = worth_of_nobody(morning, lives)
    metrics = covered(morning, samples or usual, members, level)
    least = min(metrics.values(), key=lambda metric: metric["value"])
    return {
        "policy_value.coverage_least": {name: least[name] for name in ("value", "low", "high", "n")},
        "policy_value.worth_of_nobody": {"value": level, "low": level - Z * error, "high": level + Z * error,
                                         "n": lives, "members": members},
        **metrics,
    }  # fmt: skip


def main() -> None:
    """Print the metrics."""
    samples = int(sys.argv[sys.argv.index("--samples") + 1]) if "--samples" in sys.argv else None
    print(json.dumps(run("--quick" in sys.argv, samples), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
