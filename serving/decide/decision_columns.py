"""The columns of the tables `predictions` and `decisions`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from configs.offers import NOTHING
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Kinds, Places, Texts
from features.arrays.calendar_days import start_of
from models.effects.effect_model import Chances
from models.metrics.splits import hash_number
from models.policy_value.policy_verdict import PERSONAL
from serving.arms.assignment import (
    BY_RULE,
    EXPLORE,
    POLICY,
    WIN_BACK,
    Assignment,
    propensities,
)
from serving.arms.no_offer_reasons import why_nothing
from serving.contact_rules.contact_rule import ELIGIBLE, UNKNOWN_WORTH
from serving.decide.message_columns import offer_columns
from serving.decide.scoring import Policy
from serving.decide.spooled_batches import Batch
from serving.knapsack.allocation import Limit
from serving.preferences.send_times import in_utc
from serving.segments.known_columns import PERSONA, STAGE
from serving.stored_days.day_tables import CAUSES
from serving.stored_days.decision_moment import DecisionMoment
from serving.wording.explanations import add_effect_reasons, add_rule, add_worth, policy_reasons
from serving.wording.formatting import repeated
from serving.wording.reason_codes import BY_RULE as SAID_BY_RULE
from serving.wording.reason_codes import EFFECT_UNKNOWN, ON_TRIAL, RANDOMISED, WITHDRAWN, Reason
from serving.wording.reason_lists import REASONS, ReasonLists

SCHEMA = pa.schema(
    [
        ("decision_id", pa.string()), ("user_id", pa.string()), ("as_of", pa.timestamp("us", "UTC")),
        ("trigger", pa.string()),
        ("arm", pa.string()), ("offer_id", pa.string()), ("play", pa.string()), ("channel", pa.string()),
        ("discount", pa.float64()), ("benefit", pa.string()), ("benefit_level", pa.float64()),
        ("featured_category", pa.string()), ("featured_kind", pa.string()), ("featured_item", pa.string()),
        ("subject", pa.string()), ("message", pa.string()), ("language", pa.string()), ("written_for", pa.string()),
        ("send_at", pa.timestamp("us", "UTC")),
        ("send_hour_propensity", pa.float64()), ("valid_until", pa.timestamp("us", "UTC")),
        ("p_churn", pa.float64()), ("risk_band", pa.string()), ("stage", pa.string()), ("persona", pa.string()),
        ("retained_value", pa.float64()), ("remaining_value", pa.float64()), ("incremental_retention", pa.float64()),
        ("incremental_margin", pa.float64()), ("p_redeem", pa.float64()), ("expected_cost", pa.float64()),
        ("expected_value", pa.float64()), ("propensity", pa.float64()), ("reasons", REASONS), ("why", REASONS),
        ("suppressed_because", REASONS), ("evidence", pa.string()), ("model_versions", pa.string()),
        ("fallback", pa.string()), ("experiment", pa.string()), ("variant", pa.string()),
    ]
)  # fmt: skip
OF_CHOICE = ("incremental_retention", "incremental_margin", "p_redeem", "expected_cost")


def predictions_table(batch: Batch, as_of: date, settings: Settings) -> pa.Table:
    """List risk, value and persona of every user of a batch."""
    now = in_utc(start_of(as_of, settings.time_zone))
    return pa.table(
        {
            "user_id": pa.array(batch.frame["user_id"], pa.string()),
            "as_of": pa.array(np.full(len(batch.frame), now), pa.timestamp("us", "UTC")),
            "p_churn": pa.array(batch.p_churn, pa.float64(), from_pandas=True),
            "retained_value": pa.array(batch.retained_value, pa.float64(), from_pandas=True),
            "remaining_value": pa.array(batch.remaining_value, pa.float64(), from_pandas=True),
            "p_return": pa.array(batch.p_return, pa.float64(), from_pandas=True),
            "value_if_back": pa.array(batch.value_if_back, pa.float64(), from_pandas=True),
            PERSONA: pa.array(batch.frame[PERSONA], pa.string(), from_pandas=True),
            **{
                name: pa.array(batch.frame[name], pa.float64(), from_pandas=True)
                for name in CAUSES
                if name in batch.frame
            },
        }
    )


def decisions_table(
    policy: Policy, batch: Batch, assignment: Assignment, limits: Sequence[Limit], moment: DecisionMoment,
    broken: Kinds, orders_channels: Flags | None = None,
) -> pa.Table:  # fmt: skip
    """Write the decision of every user of a batch, *nothing* included; `assignment` is the batch's part.

    `broken` is the kind of rule by which a decision was withdrawn, `orders_channels` who takes part in experiments on
    the order of channels; shapes (users,).
    """
    settings, frame, options = policy.settings, batch.frame, batch.options
    users, given = len(frame), assignment.given
    rows = np.flatnonzero(given != NOTHING)

    def of_choice(values: Floats) -> Floats:
        picked = np.zeros(users)
        picked[rows] = values[rows, given[rows]]
        return picked

    columns = {
        "decision_id": _decision_ids(frame["user_id"], moment, settings),
        "user_id": frame["user_id"],
        "as_of": np.full(users, in_utc(moment.instant)),
        "trigger": repeated(moment.trigger, users),
        "arm": assignment.arm,
        **offer_columns(policy, batch, given, assignment.arm == EXPLORE, moment, orders_channels),
        "p_churn": batch.p_churn,
        "risk_band": risk_band(batch.p_churn, settings, policy.base_rate),
        **{name: frame[name] for name in (STAGE, PERSONA)},
        "retained_value": batch.retained_value,
        "remaining_value": batch.remaining_value,
        **{name: of_choice(getattr(options, name)) for name in OF_CHOICE},
        "expected_value": of_choice(options.value),
        "propensity": propensities(options, assignment, settings, limits, moment.day, policy.trial),
        "reasons": batch.reasons,
        "why": _why(policy, batch, assignment, limits, broken),
        "suppressed_because": _reasons_of_kind(options.ineligible, policy),
        "evidence": _evidence(policy, given),
        "model_versions": [policy.model_versions] * users,
        "fallback": [policy.fallback or None] * users,
    }
    arrays = [pa.array(columns.get(field.name, [None] * users), field.type, from_pandas=True) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def risk_band(p_churn: Floats, settings: Settings, base_rate: float) -> Texts:
    """Say the risk in a word: high, medium, low, or unknown outside the models' population.

    Nobody whose risk is not above the `base_rate` is at risk: where half of all leave, one in four is a good prospect.
    """
    scoring = settings.scoring
    bands = np.array(["low", "medium", "high", "unknown"], dtype=object)
    is_above = p_churn > base_rate * (1 + 1e-9)
    at_least = [is_above & (p_churn >= bound) for bound in (scoring.high_risk, scoring.medium_risk)]
    return bands[np.select([np.isnan(p_churn), *at_least], [3, 2, 1], 0)]


def _why(policy: Policy, batch: Batch, assignment: Assignment, limits: Sequence[Limit], broken: Kinds) -> pa.ListArray:
    """Say why this offer, or why nothing."""
    lists, arm, given = ReasonLists(len(assignment.arm)), assignment.arm, assignment.given
    nothing, reasons = why_nothing(batch.options, assignment, limits, policy.why_nots)
    lists.add(np.flatnonzero(broken != ELIGIBLE), WITHDRAWN)
    lists.extend_each(np.where(given == NOTHING, nothing, ELIGIBLE), reasons)
    rows = np.flatnonzero(given != NOTHING)
    lists.add(rows[np.isin(arm[rows], (EXPLORE, WIN_BACK))], RANDOMISED)
    if len(rows):
        _add_why_this(lists, policy, batch, arm[rows], rows, given[rows])
        _add_trial(lists, policy, batch, rows[arm[rows] == EXPLORE], given)
    return lists.build()


def _add_trial(lists: ReasonLists, policy: Policy, batch: Batch, rows: Places, given: Places) -> None:
    """Say which policy on trial would choose what some users drew: the first of them, those with most users first."""
    for place, arm in sorted(enumerate(policy.trial.arms), key=lambda each: -each[1].share):
        agrees = batch.options.tried[rows, place] == given[rows]
        lists.extend(rows[agrees], (Reason(ON_TRIAL), *policy_reasons(arm.policy)))
        rows = rows[~agrees]


def _add_why_this(lists: ReasonLists, policy: Policy, batch: Batch, arm: Texts, rows: Places, chosen: Places) -> None:
    """Say why some users get their option: what it is worth, and how the policy came to it."""
    options = batch.options
    lists.add(rows[arm == BY_RULE], SAID_BY_RULE)
    is_free = arm != BY_RULE
    arm, rows, chosen = arm[is_free], rows[is_free], chosen[is_free]
    is_known = ~np.isin(options.why_not[rows, chosen], UNKNOWN_WORTH)
    lists.add(rows[~is_known], EFFECT_UNKNOWN)
    _add_worth_of(lists, policy, batch, rows[is_known], chosen[is_known])
    personal = policy.response.personal if policy.response is not None else None
    if personal is None:
        return
    is_personal = personal.deployed.name == PERSONAL
    has_rule = np.flatnonzero(is_known if is_personal else arm == POLICY)
    if not len(has_rule):
        return
    rows, chosen = rows[has_rule], chosen[has_rule]
    frame = batch.frame.iloc[rows]
    if is_personal:
        remaining = np.nan_to_num(batch.remaining_value[rows])
        roles, offered = policy.settings.roles, policy.catalogue.options
        chances = Chances(options.p_redeem[rows], batch.p_churn[rows])
        add_effect_reasons(lists, rows, personal, offered, frame, chosen, remaining, roles, chances)
    else:
        add_rule(lists, rows, personal.deployed, frame, options.p_redeem[rows, chosen])


def _add_worth_of(lists: ReasonLists, policy: Policy, batch: Batch, rows: Places, chosen: Places) -> None:
    """Say what the chosen options of some users are worth, term by term."""
    options, cells = batch.options, (rows, chosen)
    contact = np.array([offer.contact_cost for offer in policy.catalogue.offer_of_options])
    add_worth(
        lists,
        rows,
        policy.settings.currency,
        margin=options.incremental_margin[cells],
        retention=options.incremental_retention[cells],
        remaining=np.nan_to_num(batch.remaining_value[rows]),
        p_redeem=options.p_redeem[cells],
        discount_cost=options.discount_cost[cells],
        contact=contact[chosen],
        assumed_rate=policy.settings.response.assumed_redemption_rate,
    )


def _reasons_of_kind(kinds: Kinds, policy: Policy) -> pa.ListArray:
    """Say which rule each kind of why not is; missing where there is none."""
    lists = ReasonLists(len(kinds))
    lists.extend_each(kinds, policy.why_nots)
    return lists.build(kinds != ELIGIBLE)


def _evidence(policy: Policy, given: Places) -> Texts:
    evidence = repeated("none", len(given))
    if policy.response is None:
        return evidence
    personal, effects = policy.response.personal, policy.response.effects
    for place, option in enumerate(policy.catalogue.options):
        if personal is not None:
            evidence[given == place] = "randomised" if option in personal.options else "none"
        elif option.offer_id in effects:
            evidence[given == place] = effects[option.offer_id].evidence
    return evidence


def _decision_ids(user_ids: pd.Series, moment: DecisionMoment, settings: Settings) -> npt.NDArray[np.str_]:
    """Name each decision after app, instant, trigger and user, so that a rerun names it the same."""
    salt = f"{settings.app}:{moment.name}"
    halves = [hash_number(user_ids, f"{salt}:{half}") for half in ("high", "low")]
    written = np.stack(halves, axis=1).astype(">u8").tobytes().hex()  # a number at a time takes a second of a million
    return np.frombuffer(written.encode(), dtype="S32").astype(np.str_)
