"""What the ladder earns and loses below proof: weeks of decisions and two trainings in worlds with known truth.

Each seed is a world of `effect_worlds`: four weekly waves of randomised offers, a training, four weeks of decisions, a
training on what is closed by then, four more weeks. Options, draws, trial and budget are decided by winback's own
functions; what staying is worth is told to them, as it is not what is judged here. Gains are shares of what an oracle
earns within the same budget, or of the budget where nothing can be earned. Beside them: nobody's ladder (`without`:
nothing but what is proven decides, draws go on), and the best constant option, told the truth. A week that spends more
than the budget counts as far as the budget pays for it. Run as a script it prints one JSON object, and a line per seed
on standard error; ``--quick`` takes a seed of two small worlds, ``--worlds null --users 5000
--seeds 20`` what they say.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from flows.runs.environment import QUIET, hush

os.environ.update(QUIET | {"GOMP_SPINCOUNT": "0"})  # before LightGBM is loaded: idle threads must not spin

import numpy as np
import pandas as pd
from bench_effects import Experiment, best_constant, chosen, gain
from effect_worlds import LAST_WAVE, WAVES, WORLDS, Action, Crowd, EffectWorld, settings_of

from configs.offers import NOTHING, Catalogue, Offer
from configs.settings import Settings
from features.arrays.array_types import Floats, Kinds
from features.definitions.app_declarations import declarations_of
from models.effects.effect_model import ActionSet
from models.effects.uplift import LearntEffects, learn_effects, mean_effects
from models.judge.calibrated_value import Calibrated
from models.judge.policies import judge_policies
from models.judge.simple_policies import picked_by
from models.learn.benefit_cost import is_own_spend, redemption_costs
from models.learn.paid_costs import Payments
from models.learn.redeemed_spend import RedeemedSpend, redeemed_spend
from models.measurement.personalisation import common_pairs
from models.policy_value.evidence import Evidence
from models.policy_value.policy_verdict import PERSONAL, PolicyVerdict, Trial
from models.registry.response import PersonalEffects, ResponseModels, payments_of
from serving.arms.assignment import EXPLORE, allocation_input, assign, propensities
from serving.arms.policy_trial import trial_weights, weight_of, with_trial
from serving.contact_rules.contact_rule import ELIGIBLE, Forbidden
from serving.valuation.options import Options, build_options

FIRST_SEED = 500
BLOCK, BLOCKS = 4, 2  # weeks between trainings, trainings
CLOSED_AFTER = timedelta(weeks=2)
Metrics = dict[str, dict[str, Any]]


def _offer(*levels: Action) -> Offer:
    first, words = levels[0], {"title": levels[0].offer_id, "message": "{{ title }}", "plain_message": "{{ title }}"}
    return Offer(
        offer_id=first.offer_id, channel=first.channel, contact_cost=first.contact, play="trial", valid_days=7,
        discounts=tuple(each.discount for each in levels), covered_spend=20.0, **words,
    )  # fmt: skip


@dataclass(frozen=True)
class App:
    """A world, the users who stay the same in it, and its settings."""

    world: EffectWorld
    crowd: Crowd
    settings: Settings

    @classmethod
    def of(cls, world: EffectWorld, users: int, seed: int, *, has_ladder: bool = True, loss_share: float = 0.5) -> App:
        """Draw the users of a seed."""
        settings, crowd = settings_of(world, seed), world.people(users, np.random.default_rng([seed, users]))
        scoring = settings.scoring
        exploration = scoring.exploration.model_copy(update={"share": 0.05, "budget_share": 0.1, "temperature": 0.5})
        ladder = scoring.ladder.model_copy(update={"loss_share": loss_share} | ({} if has_ladder else {"steps": ()}))
        own = {"budget": world.budget * users, "control_share": 0.04, "exploration": exploration, "ladder": ladder}
        return cls(world, crowd, settings.model_copy(update={"scoring": scoring.model_copy(update=own)}))

    @cached_property
    def catalogue(self) -> Catalogue:
        """The options of the world as a catalogue."""
        by_offer: dict[str, list[Action]] = {}
        for each in self.world.actions:
            by_offer.setdefault(each.offer_id, []).append(each)
        return Catalogue(offers=tuple(_offer(*levels) for levels in by_offer.values()))

    @cached_property
    def worth(self) -> pd.Series:
        """What it is worth that a user stays, by user."""
        return pd.Series(self.crowd.worth, index=self.crowd.frame["user_id"])


@dataclass(frozen=True)
class Trained:
    """What a training leaves for decisions."""

    response: ResponseModels
    verdict: PolicyVerdict
    p_churn: Floats


def train(app: App, rows: pd.DataFrame, chosen: pd.DataFrame, before: PolicyVerdict | None = None) -> Trained:
    """Learn from treatments and judge beside what decided before, as `models.training_run.response_models` does.

    Redemptions and their costs are learnt from `chosen` treatments, too, which were not randomised.
    """
    settings, options = app.settings, app.world.options
    experiment = Experiment(app.world, rows, app.crowd, settings, chosen)
    p_redeem, spend = experiment.held_out_p_redeem, redeemed_spend(experiment.given)
    features = declarations_of(settings).catalogue({"plan": True})
    learnt = learn_effects(rows, options, features, settings, p_redeem=p_redeem, channels=app.world.channels)
    evidence = _evidence(app, rows, learnt, p_redeem, spend)
    verdict = judge_policies(evidence, settings.scoring.ladder, before, _payments(app, experiment, spend))
    picked = picked_by(Calibrated(evidence), verdict.deployed)
    margin, retention = (learnt[outcome] for outcome in ("margin_soon", "is_retained"))
    average = mean_effects(learnt, verdict.deployed.option, picked, verdict.shown)
    effects = PersonalEffects(
        margin.effect_model,
        retention.effect_model,
        options,
        verdict.deployed,
        average,
        "",
        trial=verdict.trial,
        costs=verdict.costs,
        believed=verdict.believed,
    )
    response = ResponseModels(experiment.redemption, "redemption", spend, {}, effects, listening=experiment.listening)
    return Trained(response, verdict, experiment.risk)


def _evidence(
    app: App, rows: pd.DataFrame, learnt: dict[str, LearntEffects], p_redeem: Floats, spend: RedeemedSpend
) -> Evidence:
    options, catalogue = app.world.options, app.catalogue
    margin, retention = learnt["margin_soon"], learnt["is_retained"]
    worth = app.worth[rows["user_id"]].to_numpy()
    contact = np.array([catalogue[offer].contact_cost for offer, _ in options])
    cost = p_redeem * redemption_costs(rows, options, catalogue, spend, app.settings.categories) + contact
    action = ActionSet(options, ()).places(rows["offer_id"].tolist(), rows["discount"].to_numpy())
    least = {offer: min(share for name, share in options if name == offer) for offer, _ in options}
    outcome = rows["margin_soon"] + rows["is_retained"] * worth - rows["discount_given"]
    return Evidence(
        options=options, action=action, propensity=rows["propensity"].to_numpy(), user_ids=rows["user_id"],
        fold=margin.fold, net=outcome.to_numpy() - np.r_[contact, 0.0][action],
        usual=margin.without + retention.without * worth,
        effect=margin.held_out + retention.held_out * worth[:, None] - cost, cost=cost, p_redeem=p_redeem,
        columns=rows, had_chance=margin.had_chance,
        is_simple=np.array([margin.has_slope or discount == least[offer] for offer, discount in options]),
        budget=app.world.budget, paid=rows["discount_given"].to_numpy() + np.r_[contact, 0.0][action],
        contact=contact, is_own=is_own_spend(rows, options, catalogue, spend, app.settings.categories), worth=worth,
    )  # fmt: skip


def _payments(app: App, experiment: Experiment, spend: RedeemedSpend) -> Payments | None:
    """List what was paid for treatments that were not randomised, as `models.training_run.response_models` does."""
    if experiment.chosen is None or experiment.chosen.empty:
        return None
    rows, p_redeem = experiment.chosen, experiment.held_out(experiment.chosen)
    return payments_of(rows, p_redeem, app.world.options, app.catalogue, spend, app.settings.categories)


@dataclass(frozen=True)
class Week:
    """What a week brought in truth, account currency: all that was given, and the trial against what is proven.

    `promised` and `kept` are what the deciding policy's own offers were said to bring, and what they truly did; `given`
    counts them by option.
    """

    gained: float
    spent: float
    trial: float
    randomised: pd.DataFrame
    chosen: pd.DataFrame
    promised: float
    kept: float
    given: Floats


def live(app: App, trained: Trained, day: date, rng: np.random.Generator) -> Week:
    """Decide a week as winback does; its explorers come back as rows to learn from."""
    crowd, settings, trial = app.crowd, app.settings, trained.verdict.trial
    users, places = len(crowd.frame), len(app.world.options)
    free = Forbidden(np.full(users, ELIGIBLE, dtype=np.int8), np.full((users, places), ELIGIBLE, dtype=np.int8))
    options = build_options(crowd.frame, trained.p_churn, crowd.worth, free, trained.response, app.catalogue, settings)
    found = allocation_input(
        crowd.frame["user_id"], trained.p_churn, options, settings, (), day, trial,
        takes_turns=trained.verdict.deployed.option is not None,
    )  # fmt: skip
    assignment = assign([found], with_trial(settings, trial), ())
    logged = propensities(options, assignment, settings, (), day, trial)
    given, explores = assignment.given, assignment.arm == EXPLORE
    true, cost = (np.c_[each, np.zeros(users)] for each in (crowd.value, crowd.cost))
    every, share = np.arange(users), assignment.explorers.share
    trial_gain = _trial_gain(options, trial, true)[explores].sum() * weight_of(settings, trial)
    at_random = np.clip((logged - np.where(given == assignment.intended, 1 - share, 0.0)) / max(share, 1e-9), 0.0, 1.0)
    rows = app.world.lived(crowd, day, given + 1, at_random, rng)
    own = np.flatnonzero((given != NOTHING) & ~explores)
    promised, kept = (float(each[own, given[own]].sum()) for each in (options.value, true))
    counts = np.bincount(given[own], minlength=places).astype(np.float64)
    spent = float(cost[every, given].sum())
    randomised, chosen = rows[explores], rows.iloc[own]
    return Week(float(true[every, given].sum()), spent, float(trial_gain), randomised, chosen, promised, kept, counts)


def _trial_gain(options: Options, trial: Trial, true: Floats) -> Floats:
    """Gain that a trial truly expects of each user over the proven policy, its first arm; (users,)."""
    if not trial.arms:
        return np.zeros(len(true))
    weights = trial_weights(options.tried, options.explorable, trial)
    proven: Kinds = options.tried[:, 0]
    part = trial.arms[0].part * (proven != NOTHING)
    return np.asarray((weights * true).sum(axis=1) - part * true[np.arange(len(true)), proven])


def weeks_of(app: App, seed: int) -> Iterator[tuple[Trained, Week]]:
    """Yield every week with what decided it."""
    rng = np.random.default_rng([seed, 7])
    waves = [LAST_WAVE - timedelta(weeks=back) for back in reversed(range(WAVES))]
    randomised, chosen = pd.concat([app.world.wave(app.crowd, day, rng) for day in waves]), pd.DataFrame()
    today, trained = LAST_WAVE + CLOSED_AFTER, None
    for _ in range(BLOCKS):
        closed = [rows[rows["day"] <= today - CLOSED_AFTER] if len(rows) else rows for rows in (randomised, chosen)]
        rows, others = (each.reset_index(drop=True) for each in closed)
        trained = train(app, rows, others, trained.verdict if trained is not None else None)
        for _ in range(BLOCK):
            week = live(app, trained, today, rng)
            randomised, chosen = pd.concat([randomised, week.randomised]), pd.concat([chosen, week.chosen])
            today += timedelta(weeks=1)
            yield trained, week


def of_a_seed(name: str, users: int, seed: int, *, loss_share: float, alone: bool = False) -> dict[str, Any]:
    """Live a world with the ladder, and without it unless it is `alone`."""
    found: dict[str, Any] = {}
    for word, has_ladder in (("ladder", True), ("without", False))[: 1 if alone else 2]:
        app = App.of(WORLDS[name], users, seed, has_ladder=has_ladder, loss_share=loss_share)
        budget = app.world.budget
        oracle = gain(app.crowd, chosen(app.crowd.value, app.crowd.cost, budget), budget)
        whole = BLOCKS * BLOCK * users * (oracle if oracle > 1e-9 else budget)
        weeks = list(weeks_of(app, seed))
        found[word] = sum(week.gained * min(1.0, budget * users / max(week.spent, 1e-9)) for _, week in weeks) / whole
        if has_ladder:
            allowed = loss_share * budget * users
            found["best_constant"] = best_constant(app.crowd, budget) * BLOCKS * BLOCK * users / whole
            found["trial"] = sum(week.trial for _, week in weeks) / whole
            found["worst_week"] = max(0.0, *(-week.trial / allowed for _, week in weeks))
            found["trial_loss"] = max(0.0, -sum(week.trial for _, week in weeks)) / (allowed * len(weeks))
            for when, part in (("", weeks), ("late_", weeks[-BLOCK:])):  # late: after four weeks of own measurement
                promised, kept = (sum(getattr(week, name) for _, week in part) for name in ("promised", "kept"))
                found[f"{when}promised_over_true"] = promised / kept if kept > 0 else float("nan")
                spent = sum(week.spent for _, week in part)
                found[f"{when}spent_over_budget"] = spent / (budget * users * len(part))
            found["common_pairs"] = float(common_pairs(sum(week.given for _, week in weeks).tolist()))
            kinds = [trained.verdict.deployed.name for trained, _ in weeks]
            found["personal"] = float(PERSONAL in kinds)
            found["above_nobody"] = float(found[word] > 0)
            found["says"] = [f"{trained.verdict.deployed} ({trained.verdict.ladder})" for trained, _ in weeks[::BLOCK]]
    return found


def summary(rows: list[dict[str, Any]]) -> Metrics:
    """Median over seeds with the least and the most, and in how many seeds something was so."""
    table = pd.DataFrame(rows).drop(columns="says")
    return {
        str(name): {"value": round(float(column.median() if name not in COUNTED else column.sum()), 3),
                    "low": round(float(column.min()), 3), "high": round(float(column.max()), 3), "n": len(column)}
        for name, column in table.items()
    }  # fmt: skip


COUNTED = ("personal", "above_nobody")


def run(
    quick: bool = False, *, worlds: list[str] | None = None, users: list[int] | None = None, seeds: int = 5,
    loss_share: float = 0.5, alone: bool = False, first_seed: int = FIRST_SEED,
) -> Metrics:  # fmt: skip
    """Live every world at every size."""
    hush()
    metrics: Metrics = {}
    for name in worlds or (["shop", "null"] if quick else list(WORLDS)):
        for size in users or ([2_000] if quick else [5_000, 20_000]):
            found = []
            for seed in range(1 if quick else seeds):
                found.append(of_a_seed(name, size, first_seed + seed, loss_share=loss_share, alone=alone))
                told = {key: round(v, 3) if isinstance(v, float) else v for key, v in found[-1].items()}
                print(json.dumps({"world": name, "users": size, "seed": seed} | told), file=sys.stderr, flush=True)  # noqa: T201
            metrics |= {f"{name}.{size}.{metric}": value for metric, value in summary(found).items()}
    return metrics


def main() -> None:
    """Print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small worlds, one seed")
    parser.add_argument("--worlds", type=lambda words: words.split(","))
    parser.add_argument("--users", type=lambda words: [int(word) for word in words.split(",")])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--loss-share", type=float, default=0.5)
    parser.add_argument("--alone", action="store_true", help="the ladder alone, which takes half the time")
    given = parser.parse_args()
    found = run(
        given.quick, worlds=given.worlds, users=given.users, seeds=given.seeds, loss_share=given.loss_share,
        alone=given.alone, first_seed=given.first_seed,
    )  # fmt: skip
    print(json.dumps(found, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
