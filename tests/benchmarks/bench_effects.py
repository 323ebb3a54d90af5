"""What learnt effects are worth: share of the oracle's gain, on fresh users, in worlds whose effects are known.

Every learner sees the same treatments, pays the same expected costs (from redemptions, as winback does) and the same
budget a head, beside the best constant option that the truth knows and nobody. A policy that spends more than the
budget pays for a random part of its choices only. Where no option can pay, gains are shares of the budget. Run as a
script it prints one JSON object, and a line per world on standard error; ``--quick`` takes two small worlds, ``--users
5000 --seeds 5 --worlds shop,game --learners winback`` what they say.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from time import process_time
from typing import Any

from flows.runs.environment import QUIET, hush

os.environ.update(QUIET | {"GOMP_SPINCOUNT": "0"})  # before LightGBM is loaded: idle threads must not spin

import numpy as np
import pandas as pd
from effect_worlds import WORLDS, Crowd, EffectWorld, settings_of
from meta_learners import META_LEARNERS

from configs.offers import NO_OFFER, Option
from configs.settings import Settings
from features.arrays.array_types import Floats, Places
from features.definitions.app_declarations import declarations_of
from models.effects.effect_model import Chances
from models.effects.uplift import MODERATORS, learn_effects
from models.estimator_families.estimators import Estimator
from models.estimator_families.tree_estimators import LightgbmEstimator, fit_lightgbm
from models.learn.listening import CHANNEL_SHARE, Listening, own_channels, with_channel_share
from models.learn.redeemed_spend import ORDER_VALUE, RedeemedSpend, redeemed_spend
from models.learn.redemption import RISING, p_redeem_each, shallow
from models.learn.training import cross_fitted_models, user_fold
from models.measurement.personalisation import common_pairs, personalisation_index
from serving.knapsack.allocation import allocate

FRESH = 10_000
FIRST_SEED = 301  # the learner was chosen on seed 300 and, with 5,000 users, on 301 and 302
TREES = 60


def covered_spend(frame: pd.DataFrame, offer_id: str, spend: RedeemedSpend) -> Floats:
    """Spend that a redemption covers: in proportion to the usual order where that predicts better; (users,)."""
    mean, usual = spend.by_offer.get(offer_id, 0.0), frame[ORDER_VALUE].to_numpy(dtype=np.float64)
    if spend.per_order is None:
        return np.full(len(frame), mean)
    return np.where(np.nan_to_num(usual) > 0, spend.per_order * usual, mean)


@dataclass(frozen=True)
class Experiment:
    """What a learner may read: randomised treatments, and fresh users to decide for, with what is expected of them.

    Of `chosen` treatments, which a policy gave and no random draw, only costs and redemptions are learnt.
    """

    world: EffectWorld
    rows: pd.DataFrame
    fresh: Crowd
    settings: Settings
    chosen: pd.DataFrame | None = None

    @cached_property
    def columns(self) -> list[str]:
        """Everything that a snapshot shows."""
        return [name for name in self.fresh.frame.columns if name != "user_id"]

    @cached_property
    def given(self) -> pd.DataFrame:
        """Everything that was given, with how its users listen to the offer's channel."""
        rows = self.rows if self.chosen is None else pd.concat([self.rows, self.chosen], ignore_index=True)
        given = rows[rows["offer_id"] != NO_OFFER]
        return with_channel_share(given.assign(offer_id=given["offer_id"].astype("category")), self.listening)

    @cached_property
    def listening(self) -> dict[str, Listening]:
        """How users listen to each offer's channel."""
        return own_channels(self.world.channels, self.settings, self.rows)

    @cached_property
    def redemption(self) -> LightgbmEstimator:
        """Who uses offers."""
        columns = ["offer_id", "discount", *([CHANNEL_SHARE] if self.listening else []), *self.columns]
        return fit_lightgbm(self.given, "is_redeemed", columns, shallow(self.given, self.settings), rising=RISING)

    @cached_property
    def p_redeem(self) -> Floats:
        """Expected redemptions of the fresh users; (users, options)."""
        return p_redeem_each(self.redemption, self.fresh.frame, self.world.options, self.listening)

    @cached_property
    def held_out_p_redeem(self) -> Floats:
        """Expected redemptions of the treatments by models that did not see the user; (rows, options)."""
        return self.held_out(self.rows)

    @cached_property
    def _redemption_of_folds(self) -> dict[int, Estimator]:
        settings = shallow(self.given, self.settings)
        return cross_fitted_models(self.redemption, self.given, settings, rising=RISING)

    def held_out(self, rows: pd.DataFrame) -> Floats:
        """Expected redemptions by models that did not see the user; (rows, options)."""
        found, fold = np.zeros((len(rows), len(self.world.options))), user_fold(rows["user_id"], self.settings)
        for k, model in self._redemption_of_folds.items():
            found[fold == k] = p_redeem_each(model, rows[fold == k], self.world.options, self.listening)
        return found

    @cached_property
    def cost(self) -> Floats:
        """Expected cost of every option for the fresh users; (users, options)."""
        spend = redeemed_spend(self.given)
        price = [share * covered_spend(self.fresh.frame, offer_id, spend) for offer_id, share in self.world.options]
        return self.p_redeem * np.stack(price, axis=1) + np.array([each.contact for each in self.world.actions])

    def design(self, frame: pd.DataFrame, option: Option, p_redeem: Floats) -> pd.DataFrame:
        """Columns of a snapshot, and what is known by design of an option; (rows, columns + 2)."""
        share = self.listening[option.offer_id].share(frame) if self.listening else 0.0
        return frame[self.columns].assign(**{CHANNEL_SHARE: share}, p_redeem=p_redeem)

    @cached_property
    def risk(self) -> Floats:
        """Chance of each fresh user to leave under nothing."""
        alone = self.rows[self.rows["offer_id"] == NO_OFFER]
        return 1.0 - fit_lightgbm(alone, "is_retained", self.columns, self.settings).predict(self.fresh.frame)


Learner = Callable[[Experiment], tuple[Floats, Floats]]  # effects on margin and on staying, each (users, options)


def winback(experiment: Experiment) -> tuple[Floats, Floats]:
    """Learn as winback does."""
    features = declarations_of(experiment.settings).catalogue({"plan": True})
    learnt = learn_effects(
        experiment.rows, experiment.world.options, features, experiment.settings,
        p_redeem=experiment.held_out_p_redeem, channels=experiment.world.channels,
    )  # fmt: skip
    margin, retention = (
        learnt[outcome].effect_model.effects(
            experiment.fresh.frame, experiment.world.options, Chances(experiment.p_redeem, experiment.risk)
        )
        for outcome in ("margin_soon", "is_retained")
    )
    return margin, retention


def single_model(experiment: Experiment) -> tuple[Floats, Floats]:
    """S-learner: one LightGBM per outcome on moderators, offer and discount; an effect is a difference."""
    return _differences(experiment, [name for name in MODERATORS if name in experiment.columns])


def single_model_all(experiment: Experiment) -> tuple[Floats, Floats]:
    """S-learner on every column of the snapshot."""
    return _differences(experiment, experiment.columns)


def model_per_option(experiment: Experiment) -> tuple[Floats, Floats]:
    """T-learner: a LightGBM per option and outcome."""
    columns, found = [name for name in MODERATORS if name in experiment.columns], []
    given = pd.MultiIndex.from_frame(experiment.rows[["offer_id", "discount"]])
    light = _light(experiment.settings)
    for outcome in ("margin_soon", "is_retained"):
        parts = [
            fit_lightgbm(experiment.rows[given == option], outcome, columns, light, link="identity").raw_score(
                experiment.fresh.frame
            )
            for option in ((NO_OFFER, 0.0), *experiment.world.options)
        ]
        found.append(np.stack(parts[1:], axis=1) - parts[0][:, None])
    return found[0], np.clip(found[1], -1.0, 1.0)


def by_option(name: str) -> Learner:
    """Give a learner of one treatment each option in turn, beside nothing, and all that winback is given by design.

    These are every column of the snapshot, how users listen to the option's channel, and the chance to use it.
    """

    def learn(experiment: Experiment) -> tuple[Floats, Floats]:
        given = pd.MultiIndex.from_frame(experiment.rows[["offer_id", "discount"]])
        found = np.zeros((2, len(experiment.fresh.frame), len(experiment.world.options)))
        for place, option in enumerate(experiment.world.options):
            is_treated = np.asarray(given == option)
            compared = is_treated | np.asarray(given == (NO_OFFER, 0.0))
            known, fresh = (
                experiment.design(frame, option, chances[:, place])
                for frame, chances in (
                    (experiment.rows, experiment.held_out_p_redeem),
                    (experiment.fresh.frame, experiment.p_redeem),
                )
            )
            treated = is_treated[compared].astype(float)
            propensity = np.full(len(treated), treated.mean())  # the draws favour nobody
            for row, outcome in enumerate(("margin_soon", "is_retained")):
                label = experiment.rows.loc[compared, outcome].to_numpy(dtype=np.float64)
                effects = META_LEARNERS[name](known[compared], treated, label, propensity)
                found[row, :, place] = effects(fresh)
        return found[0], np.clip(found[1], -1.0, 1.0)

    return learn


LEARNERS: dict[str, Learner] = {
    "winback": winback,
    "s_learner": single_model,
    "s_learner_all_columns": single_model_all,
    "t_learner": model_per_option,
    "x_by_option": by_option("x_learner"),
    "dr_by_option": by_option("dr_learner"),
    "r_by_option": by_option("r_learner"),
}


def _light(settings: Settings) -> Settings:
    return settings.model_copy(update={"training": settings.training.model_copy(update={"trees": TREES})})


def _differences(experiment: Experiment, columns: list[str]) -> tuple[Floats, Floats]:
    rows = experiment.rows.assign(offer_id=experiment.rows["offer_id"].astype("category"))
    found = []
    for outcome in ("margin_soon", "is_retained"):
        model = fit_lightgbm(
            rows, outcome, ["offer_id", "discount", *columns], _light(experiment.settings), link="identity"
        )
        each = [{"offer_id": NO_OFFER, "discount": 0.0}, *(option._asdict() for option in experiment.world.options)]
        scores = model.raw_scores_given(experiment.fresh.frame, each)
        found.append(scores[:, 1:] - scores[:, :1])
    return found[0], np.clip(found[1], -1.0, 1.0)


def chosen(value: Floats, cost: Floats, budget: float) -> Places:
    """Choose what pays within a budget a head."""
    return allocate(np.where(value > 0, value, -np.inf), cost, budget * len(value)).choice


def gain(crowd: Crowd, choice: Places, budget: float) -> float:
    """True gain a head of a choice, as far as the budget truly pays for it."""
    every = np.arange(len(choice))
    worth, spent = (np.where(choice >= 0, part[every, choice], 0.0).mean() for part in (crowd.value, crowd.cost))
    return float(worth * min(1.0, budget / spent)) if spent > 0 else float(worth)


def best_constant(crowd: Crowd, budget: float) -> float:
    """True gain a head of the best option for everybody, or for as many as the budget pays for."""
    return max(0.0, *(gain(crowd, np.full(len(crowd.frame), place), budget) for place in range(crowd.cost.shape[1])))


def pairs_in_use(name: str, choice: Places) -> dict[str, float]:
    """How personal a choice is: pairs of offer and level given to 5% or more of the treated, and the index of it.

    Examples
    --------
    >>> pairs_in_use("a", np.array([0, 0, 1, 1, -1]))
    {'a.common_pairs': 2.0, 'a.index': 0.5}
    """
    counts = np.bincount(choice[choice >= 0]).tolist()
    return {f"{name}.common_pairs": float(common_pairs(counts)), f"{name}.index": personalisation_index(counts)}


def of_a_seed(world: EffectWorld, users: int, seed: int, learners: list[str]) -> dict[str, float]:
    """Learn in one world and judge on fresh users; shares of the oracle's gain, else of the budget."""
    experiment = Experiment(
        world, world.experiment(users, np.random.default_rng([seed, users])),
        world.people(FRESH, np.random.default_rng(seed)), settings_of(world, seed),
    )  # fmt: skip
    crowd, budget = experiment.fresh, world.budget
    oracle = gain(crowd, chosen(crowd.value, crowd.cost, budget), budget)
    whole = oracle if oracle > 0 else budget
    found = {
        "oracle_over_budget": oracle / budget,
        "best_constant": best_constant(crowd, budget) / whole,
        **pairs_in_use("oracle", chosen(crowd.value, crowd.cost, budget)),
    }
    for name in learners:
        started = process_time()
        margin, retention = LEARNERS[name](experiment)
        value = margin + retention * crowd.worth[:, None] - experiment.cost
        choice = chosen(value, experiment.cost, budget)
        promised = np.where(choice >= 0, value[np.arange(len(choice)), choice], 0.0).mean()
        true, spent = (
            np.where(choice >= 0, part[np.arange(len(choice)), choice], 0.0).mean()
            for part in (crowd.value, crowd.cost)
        )
        found[name] = gain(crowd, choice, budget) / whole
        found[f"{name}.promised_over_true"] = float(promised / true) if true > 0 else float("nan")
        found[f"{name}.spent_over_budget"] = float(spent / budget)
        found |= pairs_in_use(name, choice)
        found[f"{name}.cpu_seconds"] = process_time() - started
    return found


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Median over seeds, with the least and the most."""
    table = pd.DataFrame(rows)
    return {
        str(name): {"value": round(float(column.median()), 3), "low": round(float(column.min()), 3),
                    "high": round(float(column.max()), 3), "n": len(column)}
        for name, column in table.items()
    }  # fmt: skip


def run(
    quick: bool = False, *, worlds: list[str] | None = None, users: list[int] | None = None, seeds: int = 5,
    learners: list[str] | None = None, first_seed: int = FIRST_SEED,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Judge the learners in every world at every size."""
    hush()
    metrics = {}
    names = worlds or (["shop", "null"] if quick else list(WORLDS))
    for name in names:
        for size in users or ([5_000] if quick else [5_000, 20_000, 50_000]):
            found = [
                of_a_seed(WORLDS[name], size, first_seed + seed, learners or list(LEARNERS))
                for seed in range(1 if quick else seeds)
            ]
            own = {f"{name}.{size}.{metric}": value for metric, value in summary(found).items()}
            print(json.dumps({key: f"{m['value']} [{m['low']}, {m['high']}]" for key, m in own.items()}),  # noqa: T201
                  file=sys.stderr, flush=True)  # fmt: skip
            metrics |= own
    return metrics


def main() -> None:
    """Print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small worlds, one seed")
    parser.add_argument("--worlds", type=lambda words: words.split(","))
    parser.add_argument("--users", type=lambda words: [int(word) for word in words.split(",")])
    parser.add_argument("--learners", type=lambda words: words.split(","))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    given = parser.parse_args()
    found = run(
        given.quick, worlds=given.worlds, users=given.users, seeds=given.seeds, learners=given.learners,
        first_seed=given.first_seed,
    )  # fmt: skip
    print(json.dumps(found, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
