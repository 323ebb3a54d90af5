"""Lift: treated users compared with a randomised control group, by intention to treat.

A frame here has one row per user, or per user and decision day: ``user_id``, ``group`` (``treated`` or ``control``),
what the row was offered *or would have been* (``offer_id``, ``channel``, ``stage``), the outcomes of `MEASURES` over
one window (0/1 or money in account currency), and covariates that were known before the first treatment of the user.
Rows of one user hang together: every standard error is clustered by user.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from configs.errors import InputError, did_you_mean
from features.arrays.array_types import Flags, Floats, Places
from models.effects.observational_effects import MIN_CONTROL, MIN_TREATED
from models.metrics.comparison import LEVEL, Difference, count_users, cuped_difference, raw_difference
from models.metrics.metric import Metric

MEASURES = {"margin": "margin", "is_retained": "retention", "is_converted": "conversion", "revenue": "revenue"}
MIN_TREATED_RESPONDERS, MIN_CONTROL_RESPONDERS = 15, 5  # the practice of Optimove, as MIN_TREATED and MIN_CONTROL
MISMATCH_LEVEL = 0.001


@dataclass(frozen=True)
class Shortage:
    """What is missing for a verdict in a group, ``treated`` or ``control``: it has `found` users, `least` are needed.

    `of` says which users count: all (``users``), of a yes or no those of the rarer answer (``rarer_answer``), of an
    amount those who have one (``amount``).
    """

    group: str
    of: str
    found: int
    least: int


@dataclass(frozen=True)
class Lift:
    """What treating a user changed in one outcome, and whether that can be told from chance.

    `treated` and `control` count users, the responders among them those whose outcome is not zero. `cuped` is
    `raw` freed of what was known before; the verdict rests on it. `p_adjusted` allows for the `comparisons` made at
    once; it is missing, and `shortage` says of each group why, where the data are too few for a verdict.
    """

    subject: str
    measure: str
    treated: int
    control: int
    treated_responders: int
    control_responders: int
    raw: Difference | None
    cuped: Difference | None
    p_adjusted: float | None
    comparisons: int
    shortage: tuple[Shortage, ...]

    @property
    def name(self) -> str:
        """Name of the metric, such as ``come_back.lift_margin``."""
        return f"{self.subject}.lift_{self.measure}"

    @property
    def variance_reduction(self) -> float:
        """Share of the variance of the raw difference that `cuped` takes away: 0.5 is worth twice the users."""
        if self.raw is None or self.cuped is None or self.raw.standard_error == 0:
            return 0.0
        return 1.0 - (self.cuped.standard_error / self.raw.standard_error) ** 2

    @property
    def is_significant_alone(self) -> bool:
        """Whether it would pass if it were the only comparison."""
        return not self.shortage and self.cuped is not None and self.cuped.p_value < LEVEL

    @property
    def is_significant(self) -> bool:
        """Whether it passes among all comparisons that were made."""
        return self.p_adjusted is not None and self.p_adjusted < LEVEL

    @property
    def verdict(self) -> str:
        """What to tell people."""
        if self.shortage or self.cuped is None:
            return "not enough data"
        if not self.is_significant:
            return "no difference shown"
        return "helps" if self.cuped.absolute.value > 0 else "harms"

    def as_dict(self) -> dict[str, object]:
        """Return name, fields, flags and verdict for JSON."""
        judged = {name: getattr(self, name) for name in ("name", "is_significant_alone", "is_significant", "verdict")}
        parts = {name: part.as_dict() if part else None for name, part in (("raw", self.raw), ("cuped", self.cuped))}
        p_adjusted = None if self.p_adjusted is None else round(self.p_adjusted, 6)
        rounded = {"variance_reduction": round(self.variance_reduction, 6), "p_adjusted": p_adjusted}
        return {**asdict(self), **parts, **rounded, **judged}


@dataclass(frozen=True)
class SampleRatio:
    """Whether as many users landed in the control group as were meant to."""

    treated: int
    control: int
    expected_control_share: float
    control_share: float
    chi_square: float
    p_value: float

    @property
    def is_mismatch(self) -> bool:
        """Whether chance hardly explains the shares."""
        return self.p_value < MISMATCH_LEVEL

    @property
    def advice(self) -> str:
        """What to do about it."""
        found, meant = f"{self.control_share:.1%}", f"{self.expected_control_share:.1%}"
        shares = f"{found} of the users are in the control group, {meant} meant"
        if not self.is_mismatch:
            return f"{shares}: as chance has it; nothing to do."
        return (
            f"{shares}: a mismatch that chance hardly explains (p = {self.p_value:.1g}). Trust no lift before the "
            "cause is found: look for users that one group loses on the way (filters, missing outcomes, consent asked "
            "after the split), for a control share that was changed midway, and for users counted twice."
        )

    def as_dict(self) -> dict[str, object]:
        """Return the fields and what they mean, for JSON."""
        return {**asdict(self), "is_mismatch": self.is_mismatch, "advice": self.advice}


def measure(
    frame: pd.DataFrame,
    covariates: Sequence[str] = (),
    by: Sequence[str] = ("offer_id", "channel", "stage"),
    *,
    outcomes: Sequence[str] = tuple(MEASURES),
) -> list[Lift]:
    """Measure every outcome for all offers together and for each level of some columns, judged as one family.

    Parameters
    ----------
    frame
        See the module; a row whose level is missing counts in all, but in no level of that column.
    covariates
        Numeric columns known before the first treatment, the most telling first.
    by
        Columns whose levels are measured one by one.

    Returns
    -------
    ``offers`` first, then the levels in order: subject ``come_back`` for an offer, ``channel_push`` for a channel.
    """
    check_rows(frame, (*outcomes, *covariates, *by))
    coded = frame.assign(user_id=pd.factorize(frame["user_id"])[0])
    return adjust_for_comparisons(
        [lift(part, outcome, covariates, subject=name) for name, part in _parts(coded, by) for outcome in outcomes]
    )


def lift(frame: pd.DataFrame, outcome: str, covariates: Sequence[str] = (), *, subject: str = "offers") -> Lift:
    """Compare the mean of one outcome between treated and control rows, plainly and with CUPED.

    The comparisons are those of `comparison.raw_difference` and `comparison.cuped_difference`.

    Raises
    ------
    InputError
        A column is missing, an outcome is not a number, or a group is neither treated nor control.
    """
    check_rows(frame, (outcome, *covariates))
    values, codes = outcome_of(frame, outcome), pd.factorize(frame["user_id"])[0]
    treated = (frame["group"] == "treated").to_numpy(dtype=bool)
    users = count_users(treated, codes), count_users(~treated, codes)
    raw = adjusted = None
    if min(users) > 1:
        raw = raw_difference(values, treated, codes)
        adjusted = cuped_difference(values, frame[list(covariates)], treated, codes)
    shortage = _shortage(values, treated, codes, is_yes_no=outcome.startswith("is_"))
    responders = count_users(treated & (values != 0), codes), count_users(~treated & (values != 0), codes)
    p_value = None if shortage or adjusted is None else adjusted.p_value
    return Lift(subject, MEASURES.get(outcome, outcome), *users, *responders, raw, adjusted, p_value, 1, shortage)


def adjust_for_comparisons(lifts: Sequence[Lift]) -> list[Lift]:
    """Judge lifts as one family, so that looking often does not find what is not there.

    Those without enough data get no verdict and do not count. See `false_discovery_adjusted`.
    """
    enough = [place for place, found in enumerate(lifts) if not found.shortage]
    p_values = {place: tested.p_value for place in enough if (tested := lifts[place].cuped) is not None}
    raised = false_discovery_adjusted(np.array(list(p_values.values())))
    adjusted = dict(zip(p_values, raised.tolist(), strict=True))
    return [
        replace(found, p_adjusted=adjusted.get(place), comparisons=len(adjusted)) for place, found in enumerate(lifts)
    ]


def false_discovery_adjusted(p_values: Floats) -> Floats:
    """Adjust p-values for many comparisons, so that the false discovery rate is controlled.

    Source: Benjamini & Hochberg 1995; it holds for independent tests and for those that err together (Benjamini &
    Yekutieli 2001), as all users and the users of one offer do.

    Examples
    --------
    >>> false_discovery_adjusted(np.array([0.01, 0.04, 0.03, 0.8]))
    array([0.04      , 0.05333333, 0.05333333, 0.8       ])
    """
    order = np.argsort(p_values)
    stepped = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum.accumulate(stepped[::-1])[::-1]
    return adjusted


def sample_ratio_mismatch(treated: int, control: int, expected_control_share: float) -> SampleRatio:
    """Test whether users got lost between the split into groups and the measurement.

    A chi-square test with one degree of freedom (Fabijan et al. 2019), at a level that seldom cries wolf (Kohavi, Tang
    & Xu 2020). Count every user once.

    Raises
    ------
    InputError
        The expected share is not between 0 and 1.

    Examples
    --------
    >>> sample_ratio_mismatch(9000, 1000, 0.1).advice
    '10.0% of the users are in the control group, 10.0% meant: as chance has it; nothing to do.'
    >>> sample_ratio_mismatch(9000, 700, 0.1).is_mismatch
    True
    """
    if not 0 < expected_control_share < 1:
        raise InputError(
            f"the expected share of the control group is {expected_control_share}; give one between 0 and 1, "
            "such as scoring.control_share"
        )
    users = treated + control
    spread = users * expected_control_share * (1 - expected_control_share)
    chi_square = (control - users * expected_control_share) ** 2 / spread if users else 0.0
    p_value = math.erfc(math.sqrt(chi_square / 2))
    share = control / users if users else expected_control_share
    return SampleRatio(treated, control, expected_control_share, share, chi_square, p_value)


def lift_metrics(lifts: Sequence[Lift]) -> dict[str, Metric]:
    """Name the adjusted lifts as metrics: ``offers.lift_margin``, ``offers.relative_lift_margin``."""
    compared = [(found, found.cuped) for found in lifts if found.cuped is not None]
    absolute = {found.name: part.absolute for found, part in compared}
    relative = {
        f"{found.subject}.relative_lift_{found.measure}": part.relative for found, part in compared if part.relative
    }
    return {**absolute, **relative}


def check_rows(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame that cannot be compared.

    Raises
    ------
    InputError
        A column is missing, a group is neither treated nor control, or a row has no user.
    """
    for column in ("user_id", "group", *columns):
        if column not in frame.columns:
            near = did_you_mean(column, map(str, frame.columns))
            raise InputError(f"there is no column {column!r} to measure; {near}")
    unknown = frame.loc[~frame["group"].isin(["treated", "control"]), "group"]
    if len(unknown):
        raise InputError(f"{len(unknown)} rows are of group {unknown.iloc[0]!r}; a group is 'treated' or 'control'")
    if frame["user_id"].isna().any():
        raise InputError(f"{frame['user_id'].isna().sum()} rows have no user_id; leave them out")


def outcome_of(frame: pd.DataFrame, name: str) -> Floats:
    """Read an outcome, shape (rows,).

    Raises
    ------
    InputError
        A value is missing or infinite, or that of a yes or no (``is_...``) is neither 0 nor 1.
    """
    values: Floats = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        missing = int((~np.isfinite(values)).sum())
        raise InputError(f"{missing} rows have no {name}; leave out decisions whose window is not over")
    if name.startswith("is_") and not np.isin(values, (0.0, 1.0)).all():
        raise InputError(f"{name} has other values than 0 and 1, such as {values[~np.isin(values, (0.0, 1.0))][0]:g}")
    return values


def _parts(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "offers", frame
    for column in by:
        for level, part in frame.groupby(column, observed=True):
            yield str(level) if column == "offer_id" else f"{column}_{level}", part


def _shortage(values: Floats, treated: Flags, codes: Places, *, is_yes_no: bool) -> tuple[Shortage, ...]:
    """Find what is missing for a verdict; of a yes or no the rarer answer has to be frequent enough."""
    needed = (("treated", treated, MIN_TREATED, MIN_TREATED_RESPONDERS),
              ("control", ~treated, MIN_CONTROL, MIN_CONTROL_RESPONDERS))  # fmt: skip
    short = []
    for name, group, least, least_responders in needed:
        users, responders = count_users(group, codes), count_users(group & (values != 0), codes)
        rarer = min(responders, count_users(group & (values != 1), codes)) if is_yes_no else responders
        if users < least:
            short.append(Shortage(name, "users", users, least))
        elif rarer < least_responders:
            short.append(Shortage(name, "rarer_answer" if is_yes_no else "amount", rarer, least_responders))
    return tuple(short)
