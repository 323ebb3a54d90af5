"""Synthetic frames whose truth is known, and small fitted models: what the tests of models and decisions stand on."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.offers import Catalogue, Offer
from configs.settings import Settings, load_settings
from features.arrays.calendar_days import start_of
from features.definitions.registry import Feature
from features.definitions.snapshot_features import catalogue
from models.effects.observational_effects import ADJUSTED_FOR
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_linear, fit_proportional
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.redeemed_spend import RedeemedSpend
from models.registry.model_reader import ModelLineage, Registered
from models.registry.response import KnownEffect, ResponseModels
from serving.decide.scoring import Policy
from serving.wording.language_file import load_language
from serving.wording.reason_lists import REASONS, ReasonLists
from serving.wording.rendering import Words

AS_OF = date(2024, 7, 1)
FEATURES: list[Feature] = catalogue({"plan": True, "plan_plus": False})
MIXED = ["days_since_last_activity", "spend_sum_90d", "active_days_count_28d", "trait_plan", "trait_plan_plus"]
DRAWN_OPTIONS = (("bundle", 0.1), ("bundle", 0.3), ("come_back", 0.05), ("come_back", 0.2), ("come_back", 0.3))
SMALL: dict[str, object] = {
    "threads": 1,
    "churn": {"lookback_days": 56, "horizon_days": 28},
    "value": {"horizon_days": 28},
    "training": {
        "holdout_days": 56, "folds": 3, "bootstrap_samples": 100, "min_users": 50, "trees": 20, "leaves": 7,
        "learning_rate": 0.2, "min_leaf_rows": 15,
    },
    "response": {"holdout_days": 56, "min_treatments": 100},
    "scoring": {"budget": 30.0, "batch_users": 60, "control_share": 0.1},
}  # fmt: skip


def small_settings(**sections: dict[str, object]) -> Settings:
    """Settings for small frames; a section's values are laid over them."""
    merged = {name: value for name, value in SMALL.items() if name not in sections}
    for name, value in sections.items():
        below = SMALL.get(name)
        merged[name] = {**below, **value} if isinstance(below, dict) else value
    return load_settings(**merged)


def behaviour(users: int, rng: np.random.Generator) -> pd.DataFrame:
    """Everything that models and decisions read of some users; shape (users, columns)."""
    pace = rng.gamma(2.0, 2.0, users)
    columns = {
        "user_id": [f"u{number:05d}" for number in range(users)],
        "days_since_last_activity": np.floor(rng.exponential(60 / (1 + pace))) + 1,
        "active_days_count_28d": rng.poisson(pace),
        "active_days_count_90d": rng.poisson(3 * pace) + 1,
        "active_days_count_365d": rng.poisson(10 * pace) + 1,
        "spend_sum_28d": rng.gamma(2.0, 5 * pace).round(2),
        "spend_sum_90d": rng.gamma(2.0, 15 * pace).round(2) + 0.01,
        "spend_sum_365d": rng.gamma(2.0, 50 * pace).round(2),
        "items_count_90d": rng.poisson(8 * pace),
        "discount_sum_90d": rng.gamma(1.0, 3.0, users).round(2),
        "spend_trend_28d": rng.gamma(2.0, 0.5, users),
        "overdue_ratio_365d": rng.gamma(1.0, 1.0, users),
        "tenure_days": rng.integers(10, 900, users),
        "payment_failures_count_28d": rng.random(users) < 0.05,
        "treatments_count_90d": rng.poisson(1.0, users),
        "redemptions_count_90d": rng.poisson(0.3, users),
        "redemptions_count_365d": rng.poisson(1.0, users),
        "redemption_share_365d": rng.beta(1, 6, users),
        "days_since_last_redemption": np.floor(rng.exponential(60, users)),
        "favourite_hour_90d": rng.integers(0, 24, users),
        "trait_plan_plus": rng.integers(0, 4, users),
    }
    frame = pd.DataFrame({name: column if name == "user_id" else _number(column) for name, column in columns.items()})
    frame["order_value_mean_365d"] = (frame["spend_sum_365d"] / (1 + frame["active_days_count_365d"])).round(2)
    frame.loc[rng.random(users) < 0.6, "days_since_last_redemption"] = np.nan
    frame.loc[rng.random(users) < 0.1, ["trait_plan_plus", "overdue_ratio_365d"]] = np.nan
    plans = rng.choice(np.array(["free", "plus", "pro", None], dtype=object), users)
    tastes = rng.choice(np.array(["bread", "wine", None], dtype=object), users)
    return frame.assign(trait_plan=pd.Categorical(plans), favourite_category_90d=pd.Categorical(tastes))


def churn_logit(frame: pd.DataFrame) -> np.ndarray:
    """True log odds of leaving."""
    idle, days = np.log1p(frame["days_since_last_activity"]), np.log1p(frame["active_days_count_90d"])
    return np.asarray(-1.0 + 1.3 * (idle - 2.0) - 0.9 * (days - 2.0))


def outcomes(users: int, rng: np.random.Generator, *, every: int = 28, snapshots: int = 5) -> pd.DataFrame:
    """Like `frames.outcome_frame`: some snapshots of the same users, newest label closed at `AS_OF`."""
    days = [AS_OF - timedelta(days=28 + every * back) for back in reversed(range(snapshots))]
    parts = [behaviour(users, rng).assign(day=day, event_timestamp=pd.Timestamp(start_of(day, "UTC"))) for day in days]
    frame = pd.concat(parts, ignore_index=True).astype({"trait_plan": "category", "favourite_category_90d": "category"})
    frame["p_true"] = 1 / (1 + np.exp(-churn_logit(frame)))
    frame["is_churned"] = (rng.random(len(frame)) < frame["p_true"]).astype(int)
    noise = rng.gamma(4.0, 0.25, len(frame))
    frame["margin"] = np.where(frame["is_churned"] == 1, 0.0, 0.1 * frame["spend_sum_90d"] * noise)
    return frame


def redemptions(users: int, rng: np.random.Generator, *, slope: float = 8.0) -> pd.DataFrame:
    """Like `frames.redemption_frame`: five rounds of two offers; `slope` is the pull of the discount."""
    days = [AS_OF - timedelta(days=20 + 28 * back) for back in reversed(range(5))]
    parts = [behaviour(users, rng).assign(day=day, decided_at=pd.Timestamp(start_of(day, "UTC"))) for day in days]
    frame = pd.concat(parts, ignore_index=True).astype({"trait_plan": "category", "favourite_category_90d": "category"})
    frame["offer_id"] = pd.Categorical(rng.choice(["bundle", "come_back"], len(frame)))
    frame["discount"] = rng.choice([0.05, 0.1, 0.2, 0.3], len(frame))
    frame["closed_at"] = frame["decided_at"] + pd.Timedelta(days=14)
    frame["event_timestamp"] = frame["decided_at"]
    score = -2.5 + slope * frame["discount"] + 6 * frame["redemption_share_365d"]
    frame["p_true"] = 1 / (1 + np.exp(-score))
    frame["is_redeemed"] = (rng.random(len(frame)) < frame["p_true"]).astype(int)
    frame["discount_given"] = np.where(frame["is_redeemed"] == 1, 40.0 * frame["discount"], 0.0)
    return frame


def treated_rows(
    users: int, rng: np.random.Generator, *, margin: float, retention: float, aim: float = 1.0
) -> pd.DataFrame:
    """Like `observational_effects.label_exposure`: the more a user spends, the likelier the offer; one row per user.

    `margin` and `retention` are the true effects; with `aim` above 0 the plain difference is far too high.
    """
    frame = behaviour(users, rng).assign(day=AS_OF)
    wealth = np.log1p(frame["spend_sum_90d"])
    wealth = (wealth - wealth.mean()) / wealth.std()
    treated = rng.random(users) < 1 / (1 + np.exp(-aim * wealth))
    stays = np.clip(0.6 + 0.12 * wealth, 0.05, 0.9) + retention * treated
    return frame.assign(
        offer_given=np.where(treated, "bundle", "none"),
        is_redeemed=(treated & (rng.random(users) < 0.3)).astype(float),
        margin_soon=3.0 * wealth + margin * treated + rng.normal(0, 2.0, users),
        is_retained=(rng.random(users) < stays).astype(float),
    )


def randomised_treatments(
    users: int, rng: np.random.Generator, *, pull: float = 1.5, rare: float = 0.0, taste: float = 1.0,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:  # fmt: skip
    """Like `frames.experiment_frame`: two rounds of `DRAWN_OPTIONS` at random, and what each option truly changes.

    `pull` is that of the discount and `taste` how much users differ. A third offer, ``rare``, is drawn with that
    probability, and changes 6 more. The wealthier a user, the likelier an option.

    Returns
    -------
    Rows, and per outcome the true effects, shape (rows, options); those of the rare offer come last.
    """
    days = [AS_OF - timedelta(days=60 + 28 * back) for back in (1, 0)]
    frame = pd.concat([behaviour(users, rng).assign(day=day) for day in days], ignore_index=True)
    frame = frame.astype({"trait_plan": "category", "favourite_category_90d": "category"})
    wealth, idle = (_scaled(frame[name]) for name in ("spend_sum_90d", "days_since_last_activity"))
    options = [*DRAWN_OPTIONS, ("rare", 0.1)] if rare else list(DRAWN_OPTIONS)
    strength = np.log1p(np.array([discount for _, discount in options]) / 0.1)
    shift = np.array([{"bundle": 0.0, "come_back": 0.5, "rare": 6.0}[name] for name, _ in options])
    slope = pull * np.maximum(1.0 + 0.8 * taste * idle, 0.0)
    margin = 0.5 + 1.5 * taste * wealth[:, None] + shift + slope[:, None] * strength
    truth = {"margin_soon": margin, "is_retained": 0.05 * np.clip(margin, -4, 6)}
    nothing = np.where(wealth > 0, 0.2, 0.4)
    chances = np.c_[
        nothing, np.repeat(((1 - nothing - rare) / len(DRAWN_OPTIONS))[:, None], len(DRAWN_OPTIONS), axis=1)
    ]
    chances = np.c_[chances, np.full(len(frame), rare)] if rare else chances
    drawn = (rng.random(len(frame))[:, None] > chances.cumsum(axis=1)).sum(axis=1).clip(max=len(options))
    every = np.arange(len(frame))
    changes = {name: np.c_[np.zeros(len(frame)), effect][every, drawn] for name, effect in truth.items()}
    stays = np.clip(0.4 + 0.05 * wealth, 0.2, 0.6) + changes["is_retained"]
    redeemed = (drawn > 0) & (rng.random(len(frame)) < 0.3)
    discount = np.r_[0.0, [share for _, share in options]][drawn]
    return frame.assign(
        offer_id=np.array(["none", *(name for name, _ in options)], dtype=object)[drawn],
        discount=discount,
        propensity=chances[every, drawn],
        margin_soon=2.0 * wealth + changes["margin_soon"] + rng.normal(0, 3.0, len(frame)),
        is_retained=(rng.random(len(frame)) < stays).astype(float),
        is_redeemed=redeemed.astype(float),
        discount_given=np.where(redeemed, 20.0 * discount, 0.0),
    ), truth


def offer(offer_id: str, **changes: object) -> Offer:
    """Offer of the catalogue."""
    fields: dict[str, object] = {
        "offer_id": offer_id, "title": offer_id.title(), "play": "mail", "channel": "email",
        "message": "{{ title }}: {{ discount }} off {{ category }} until {{ last_day }}.",
        "discounts": (0.1, 0.2), "valid_days": 7, "contact_cost": 0.05, "covered_spend": 20.0,
    }  # fmt: skip
    return Offer(**{**fields, **changes})


def registered(estimator: Estimator, subject: str, version: int = 1) -> Registered:
    """Model as if it were read back from the registry."""
    training = ModelLineage(subject, estimator.family, AS_OF, AS_OF, AS_OF, f"{subject}0123456789")
    return Registered(estimator, version, training, {})


def everyone_comparable(frame: pd.DataFrame) -> Estimator:
    """Propensity model that calls nearly everybody comparable."""
    coin = frame.assign(is_treated=np.arange(len(frame)) % 2)
    return fit_linear(coin, "is_treated", [name for name in ADJUSTED_FOR if name in frame.columns])


WORDS = Words(
    load_language("en"),
    {feature.name: feature for feature in FEATURES},
    {name: name.title() for name in ("bundle", "come_back", "unproven", "plain")},
    "USD",
)


def said(rows: pa.Table | ReasonLists) -> list[str] | pd.DataFrame:
    """Put reasons into words: of lists, or of a table whose columns of reasons become sentences, None for none."""
    if isinstance(rows, ReasonLists):
        return [WORDS.sentence(reasons) for reasons in rows.build().to_pylist()]
    names = [field.name for field in rows.schema if field.type == REASONS]
    sentences = {
        name: [None if reasons is None else WORDS.sentence(reasons) for reasons in rows[name].to_pylist()]
        for name in names
    }
    return rows.to_pandas().assign(**{name: pd.Series(own, dtype=object) for name, own in sentences.items()})


def small_policy(settings: Settings | None = None, *, offers: tuple[Offer, ...] | None = None) -> Policy:
    """Policy of three small fitted models with an effect for each offer but `unproven`."""
    settings = settings or small_settings()
    rng = np.random.default_rng(3)
    frame, treated = outcomes(200, rng, snapshots=2), redemptions(150, rng)
    churn = fit_lightgbm(frame, "is_churned", MIXED, settings)
    value = fit_proportional(frame[frame["is_churned"] == 0], "margin", "spend_sum_90d")
    redeem = fit_lightgbm(treated, "is_redeemed", ["offer_id", "discount", "redemption_share_365d"], settings)
    alike = everyone_comparable(frame)
    effects = {
        "bundle": KnownEffect(1.5, 0.04, 0.3, "observational", alike),
        "come_back": KnownEffect(0.4, 0.10, 0.3, "randomised", alike),
    }
    response = ResponseModels(redeem, "redemption-lightgbm-x", RedeemedSpend({"bundle": 15.0}), effects)
    offers = offers or (offer("bundle"), offer("come_back", discounts=(0.05, 0.3)), offer("unproven"))
    return Policy(settings, Catalogue(offers=offers), registered(churn, "churn"), registered(value, "value"), response)


def _scaled(column: pd.Series) -> np.ndarray:
    logged = np.log1p(column.to_numpy(dtype=np.float64))
    return np.asarray((logged - logged.mean()) / logged.std())


def _number(column: object) -> np.ndarray:
    return np.asarray(column, dtype=np.float64)
