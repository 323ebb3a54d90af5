"""Randomised offers with known outcomes, compared with users who drew nothing with the same probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from configs.offers import NO_OFFER
from features.materialise.as_of_view import AsOfView
from features.training_data.frames import KNOWN_BEFORE, measured_frame
from models.measurement.lift import MEASURES, Lift, SampleRatio, adjust_for_comparisons, lift, sample_ratio_mismatch
from serving.stored_days.measurements import RANDOMISED

ROWS = ["user_id", "day", "decided_at", "offer_id", "discount", "propensity"]


@dataclass(frozen=True)
class RandomisedOffers:
    """Randomised treatments with known outcomes, as `models.measurement.lift` reads them, and a check of their split.

    `offers` counts the offers given so far, randomised or not, and `first_day` is the day of the first. `left_out`
    counts users who drew with other probabilities than the others, on `left_out_days`: a plain comparison would be
    biased.
    """

    frame: pd.DataFrame
    ratio: SampleRatio | None
    offers: int
    first_day: date | None
    left_out: int
    left_out_days: tuple[date, ...] = ()


NO_RANDOMISED_OFFERS = RandomisedOffers(pd.DataFrame(), None, 0, None, 0)


def collect_randomised(history: AsOfView) -> RandomisedOffers:
    """Find each user's first randomised treatment, on days when all drew with equal probabilities, and its outcome."""
    if history.treatments is None:
        return NO_RANDOMISED_OFFERS
    given = history.treatments.filter(history.treatments.offer_id != NO_OFFER)
    found = history.collect(given.aggregate(offers=given.count(), first_day=given.day.min())).iloc[0]
    first_day = None if pd.isna(found["first_day"]) else pd.Timestamp(found["first_day"]).date()
    rows = history.treatments
    drawn = rows.filter((rows.propensity > 0) & (rows.propensity < 1)).order_by("decided_at", "user_id", "decision_id")
    randomised = history.collect(drawn.select(*ROWS))
    randomised = randomised.assign(day=pd.to_datetime(randomised["day"]).dt.date)
    fair, none_share = alike(randomised)
    others = randomised[~randomised["user_id"].isin(fair["user_id"])].drop_duplicates("user_id")
    offers, left_out = int(found["offers"]), (len(others), tuple(sorted(others["day"].unique())))
    if fair.empty:
        return RandomisedOffers(pd.DataFrame(), None, offers, first_day, *left_out)
    group = np.where(fair["offer_id"] == NO_OFFER, "control", "treated")
    entries = fair.assign(as_of=fair["decided_at"], group=group).drop(columns=["day", "decided_at"])
    kept = int((group == "control").sum())
    ratio = sample_ratio_mismatch(len(entries) - kept, kept, none_share)
    return RandomisedOffers(measured_frame(history, entries), ratio, offers, first_day, *left_out)


def randomised_lifts(frame: pd.DataFrame) -> list[Lift]:
    """Compare all randomised offers, and each of them, with users who drew nothing; tested as one family."""
    offers = sorted(set(frame["offer_id"]) - {NO_OFFER})
    each = {f"{RANDOMISED}_{offer}": frame[frame["offer_id"].isin([offer, NO_OFFER])] for offer in offers}
    parts = {RANDOMISED: frame} | each
    return adjust_for_comparisons(
        [lift(part, outcome, KNOWN_BEFORE, subject=name) for name, part in parts.items() for outcome in MEASURES]
    )


def randomised_words(subject: str) -> str:
    """Name the subject of a randomised lift.

    Examples
    --------
    >>> randomised_words("lots"), randomised_words("lots_coupon")
    ('randomised offers', 'coupon, given at random')
    """
    offer_id = subject.removeprefix(f"{RANDOMISED}_")
    return "randomised offers" if subject == RANDOMISED else f"{offer_id}, given at random"


def alike(rows: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Keep each user's first treatment, of days on which all users drew with one and the same set of probabilities.

    Of several such sets the one of most users is kept, so that no day has a larger share of treated users than another.

    Parameters
    ----------
    rows
        `ROWS`, in the order of deciding.

    Returns
    -------
    The rows, and the probability of drawing nothing.
    """
    if rows.empty:
        return rows, 0.0
    firsts = rows[~rows["user_id"].duplicated()]
    firsts = firsts[~firsts["user_id"].isin(rows.loc[rows.duplicated(["user_id", "decided_at"]), "user_id"])]
    chances = rows.assign(propensity=rows["propensity"].round(9)).groupby(["day", "offer_id", "discount"])["propensity"]
    table = chances.agg(["min", "max"]).reset_index()
    by_day = {
        day: frozenset(part[["offer_id", "discount", "min"]].itertuples(index=False, name=None))
        for day, part in table.groupby("day")
        if (part["min"] == part["max"]).all() and NO_OFFER in set(part["offer_id"]) and len(part) > 1
    }
    sets = firsts["day"].map(by_day).dropna()
    if sets.empty:
        return firsts.head(0), 0.0
    users = sets.value_counts()
    most = min(users[users == users.max()].index, key=sorted)
    fair = firsts[firsts["day"].isin([day for day, own in by_day.items() if own == most])]
    return fair, sum(sorted(share for offer, _, share in most if offer == NO_OFFER))  # at whatever discount it is told
