"""Settings of training: customer value, response to offers, and how models are fitted."""

from __future__ import annotations

from pydantic import Field

from configs.section import Count, Days, Section, Share


class Value(Section):
    """What staying is worth."""

    horizon_days: Days = Field(description="window over which the value of a retained user is counted")
    gross_margin: Share = Field(description="share of revenue that is margin before discounts")
    yearly_discount_rate: float = Field(
        ge=0, le=1, description="by how much a year money counts less that comes after the measured margin"
    )


class Response(Section):
    """How effects of offers are learnt."""

    holdout_days: Days = Field(description="treatments decided in this window before `as_of` are the test")
    retained_from_day: int = Field(
        ge=0,
        le=3660,
        description="activity from this day of the churn horizon on counts as retained when effects are measured",
    )
    min_treatments: Count = Field(description="fewer closed treatments than this: not enough data for a model")
    assumed_redemption_rate: Share = Field(
        description="share of users charged for an offer where nothing is known of who uses it; 1 overspends no budget"
    )
    overlap: Share = Field(
        description="users whose estimated propensity is outside [overlap, 1 - overlap] are not compared"
    )


class Training(Section):
    """How models are fitted, judged and promoted."""

    holdout_days: Days = Field(description="the out-of-time test cut lies this long before `as_of`")
    folds: int = Field(ge=2, le=20, description="groups of users; each is predicted by a model that never saw it")
    bootstrap_samples: int = Field(ge=100, le=100_000, description="resamples behind every 95% interval")
    min_users: Count = Field(description="fewer users than this in a training frame: not enough data")
    max_users: Count = Field(
        description="users that models learn from; where there are more, a stable random part of them"
    )
    trees: int = Field(gt=0, le=10_000, description="LightGBM trees")
    leaves: int = Field(gt=1, le=10_000, description="leaves of a LightGBM tree")
    learning_rate: float = Field(gt=0, le=1, description="LightGBM learning rate")
    column_share: float = Field(gt=0, le=1, description="share of the columns that each tree may use")
    min_leaf_rows: Count = Field(description="rows that a LightGBM leaf needs")
