"""One decision for every user and day: scored in batches, allocated at once, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from configs.consistency import check_floor
from configs.errors import InputError
from configs.offers import NO_OFFER, NOTHING
from configs.progress import track
from configs.settings import Settings
from features.arrays.array_types import Floats, Kinds, Places, Texts
from features.arrays.calendar_days import start_of
from features.storage.lake import Lake
from models.judge.policy_verdict import PERSONAL
from models.metrics.splits import hash_number
from serving.decide import ledger
from serving.decide.assignment import (
    EXPLORE,
    POLICY,
    SUPPRESSED,
    AllocationInput,
    Assignment,
    Spending,
    allocation_input,
    assign,
    curve_table,
    propensities,
)
from serving.decide.decision_moment import DecisionMoment
from serving.decide.eligibility import (
    ELIGIBLE,
    NOT_MEASURED,
    UNLIKE_COMPARED,
    broken_by,
    forbidden,
    no_contacts,
)
from serving.decide.executors import Executor
from serving.decide.no_offer_reasons import why_nothing
from serving.decide.scoring import SPOOL_FORMAT, Batch, Policy, open_spool
from serving.decide.stored_day import draws_table, prices_table
from serving.knapsack.allocation import Limit, limits_of
from serving.wording.explanations import add_effect_reasons, add_rule, add_worth
from serving.wording.formatting import repeated
from serving.wording.reason_codes import EFFECT_UNKNOWN, RANDOMISED, WITHDRAWN
from serving.wording.reason_lists import REASONS, ReasonLists

SCHEMA = pa.schema(
    [
        ("decision_id", pa.string()), ("user_id", pa.string()), ("as_of", pa.timestamp("us", "UTC")),
        ("trigger", pa.string()),
        ("arm", pa.string()), ("offer_id", pa.string()), ("play", pa.string()), ("channel", pa.string()),
        ("discount", pa.float64()), ("featured_category", pa.string()), ("featured_item", pa.string()),
        ("message", pa.string()), ("send_at", pa.timestamp("us", "UTC")), ("valid_until", pa.timestamp("us", "UTC")),
        ("p_churn", pa.float64()), ("risk_band", pa.string()), ("stage", pa.string()), ("persona", pa.string()),
        ("remaining_value", pa.float64()), ("incremental_retention", pa.float64()),
        ("incremental_margin", pa.float64()), ("p_redeem", pa.float64()), ("expected_cost", pa.float64()),
        ("expected_value", pa.float64()), ("propensity", pa.float64()), ("reasons", REASONS), ("why", REASONS),
        ("suppressed_because", REASONS), ("evidence", pa.string()), ("model_versions", pa.string()),
    ]
)  # fmt: skip
OF_CHOICE = ("incremental_retention", "incremental_margin", "p_redeem", "expected_cost")


def decide(
    policy: Policy, lake: Lake, as_of: date, executor: Executor, *, inputs: str = "",
    contacts: Callable[[], pd.DataFrame] = no_contacts, moment: DecisionMoment | None = None,
) -> Spending:  # fmt: skip
    """Write all that a day keeps of its decisions, replacing what was there before: `tables_of`, prices and draws.

    The decisions are also appended to the ledger and land in the treatments; all of it appears together or not at all.
    Every batch of users is scored once and spooled to disk; a run that failed goes on where it stopped.

    Parameters
    ----------
    executor
        Who scores and writes, here or on other machines. Of all users together only a few numbers each are held.
    inputs
        Names what the executor reads: only a run on the same goes on where another one stopped.
    contacts
        Reads what is known of earlier contacts; the rules of eligibility are asked with what it says before the
        allocation, and with what it says by then before anything is written.
    moment
        Instant and trigger of the decisions; that of the night by default.

    Raises
    ------
    InputError
        There are no users, a capacity names an unknown channel, or the floor of the exploration is too high.
    """
    limits = limits_of(policy.catalogue, policy.settings)
    check_floor(policy.settings, len(policy.catalogue.options))
    policy = replace(policy, contacts=contacts())
    pieces = f"{executor.batches} x {policy.settings.scoring.batch_users}"
    moment = moment or DecisionMoment.of_night(as_of, policy.settings.time_zone)
    key = f"winback {version('winback')} {SPOOL_FORMAT} {policy.version} {as_of} {moment.name} {pieces} {inputs}"
    place = lake.path("scoring", moment.place)
    with lake.files.lock("decisions"), open_spool(place, key, policy.catalogue) as spool:

        def input_of_batch(batch: Batch) -> AllocationInput:
            return allocation_input(batch.frame["user_id"], batch.options, policy.settings, limits, as_of)

        allocation_inputs = list(
            track(executor.allocation_inputs(policy, spool, input_of_batch), "users scored", executor.batches)
        )
        if not sum(len(part.arm) for part in allocation_inputs):
            raise InputError(f"there is nobody to decide about on {as_of}; ingest users or choose another as_of")
        limits = limits if policy.catalogue.options else ()
        assignment = assign(allocation_inputs, policy.settings, limits, executor.remote_reduce(spool))
        policy = replace(policy, contacts=contacts())
        with lake.files.publish() as publication:
            with (
                ledger.appending(lake, publication, moment) as enter,
                _day_writer(publication.folder(moment.folder)) as write,
            ):
                write("budget_curve", curve_table(allocation_inputs, policy.settings, limits))
                write("spending", assignment.spending.table())
                write("prices", prices_table(assignment.spending, policy.settings, limits, policy.catalogue))
                for each in allocation_inputs:
                    write("draws", draws_table(each))
                parts = assignment.parts(allocation_inputs)
                del allocation_inputs  # what they were read from is mapped into memory
                written = executor.tables(
                    spool, parts, lambda batch, part: tables_of(policy, batch, part, limits, moment)
                )
                for tables in track(written, "decisions written", len(parts)):
                    for name in list(tables):
                        (enter if name == "ledger" else partial(write, name))(tables.pop(name))  # and forget them
            ledger.land(lake, publication, as_of, policy.catalogue, policy.settings.time_zone)
    return assignment.spending


def tables_of(
    policy: Policy, batch: Batch, assignment: Assignment, limits: Sequence[Limit], moment: DecisionMoment
) -> dict[str, pa.Table]:
    """Write everything that a day keeps about the users of a batch; `assignment` is the batch's part."""
    batch, assignment, broken = withdraw(policy, batch, assignment)
    decisions = decisions_table(policy, batch, assignment, limits, moment, broken)
    share = assignment.spending.exploration_share
    return {
        "predictions": predictions_table(batch, moment.day, policy.settings),
        "options": batch.options.table(batch.frame["user_id"], policy.why_nots),
        "decisions": decisions,
        "ledger": ledger.entry_table(decisions, assignment.intended, policy.catalogue, policy.version, share),
    }


def withdraw(policy: Policy, batch: Batch, assignment: Assignment) -> tuple[Batch, Assignment, Kinds]:
    """Ask the rules once more about what was decided; who would get what is forbidden gets nothing, and it is said.

    Returns
    -------
    Batch and assignment without those offers, and the kind of rule that each broke, shape (users,).
    """
    found = forbidden(policy.rules, batch.frame, policy.contacts, policy.catalogue)
    broken = broken_by(assignment.given, found)
    rows = np.flatnonzero(broken != ELIGIBLE)
    if not len(rows):
        return batch, assignment, broken
    ineligible, why_not = batch.options.ineligible.copy(), batch.options.why_not.copy()
    ineligible[rows] = broken[rows]
    why_not[rows] = np.where(found.option[rows] == ELIGIBLE, why_not[rows], found.option[rows])
    given, arm = assignment.given.copy(), assignment.arm.copy()
    given[rows], arm[rows] = NOTHING, SUPPRESSED
    batch = replace(batch, options=replace(batch.options, ineligible=ineligible, why_not=why_not))
    return batch, replace(assignment, given=given, arm=arm), broken


def predictions_table(batch: Batch, as_of: date, settings: Settings) -> pa.Table:
    """List risk and value of every user of a batch."""
    now = _in_utc(start_of(as_of, settings.time_zone))
    return pa.table(
        {
            "user_id": pa.array(batch.frame["user_id"], pa.string()),
            "as_of": pa.array(np.full(len(batch.frame), now), pa.timestamp("us", "UTC")),
            "p_churn": pa.array(batch.p_churn, pa.float64(), from_pandas=True),
            "remaining_value": pa.array(batch.remaining_value, pa.float64(), from_pandas=True),
        }
    )


def decisions_table(
    policy: Policy, batch: Batch, assignment: Assignment, limits: Sequence[Limit], moment: DecisionMoment, broken: Kinds
) -> pa.Table:
    """Write the decision of every user of a batch, *nothing* included; `assignment` is the batch's part.

    `broken` is the kind of rule by which a decision was withdrawn, shape (users,).
    """
    settings, frame, options = policy.settings, batch.frame, batch.options
    users, given = len(frame), assignment.given
    rows = np.flatnonzero(given != NOTHING)
    now = moment.instant.astimezone(ZoneInfo(settings.time_zone))

    def of_choice(values: Floats) -> Floats:
        picked = np.zeros(users)
        picked[rows] = values[rows, given[rows]]
        return picked

    columns = {
        "decision_id": _decision_ids(frame["user_id"], moment, settings),
        "user_id": frame["user_id"],
        "as_of": np.full(users, _in_utc(now)),
        "trigger": repeated(moment.trigger, users),
        "arm": assignment.arm,
        **_offer_columns(batch, given, now),
        "p_churn": batch.p_churn,
        "risk_band": risk_band(batch.p_churn, settings),
        "stage": stage(frame, settings),
        "remaining_value": batch.remaining_value,
        **{name: of_choice(getattr(options, name)) for name in OF_CHOICE},
        "expected_value": of_choice(options.value),
        "propensity": propensities(options, assignment, settings, limits, moment.day),
        "reasons": batch.reasons,
        "why": _why(policy, batch, assignment, limits, broken),
        "suppressed_because": _reasons_of_kind(options.ineligible, policy),
        "evidence": _evidence(policy, given),
        "model_versions": [policy.model_versions] * users,
    }
    arrays = [pa.array(columns.get(field.name, [None] * users), field.type, from_pandas=True) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def risk_band(p_churn: Floats, settings: Settings) -> Texts:
    """Say the risk in a word: high, medium, low, or unknown outside the models' population."""
    scoring = settings.scoring
    bands = np.array(["low", "medium", "high", "unknown"], dtype=object)
    return bands[
        np.select([np.isnan(p_churn), p_churn >= scoring.high_risk, p_churn >= scoring.medium_risk], [3, 2, 1], 0)
    ]


def stage(frame: pd.DataFrame, settings: Settings) -> Texts:
    """Say where in the lifecycle a user is: new, active, cooling or lapsed."""
    idle = frame["days_since_last_activity"].fillna(np.inf).to_numpy()
    is_new = (frame["tenure_days"] <= settings.churn.horizon_days).to_numpy()
    stages = np.array(["new", "active", "cooling", "lapsed"], dtype=object)
    bounds = [idle <= settings.churn.horizon_days, idle <= settings.churn.lookback_days]
    return stages[np.select([is_new, *bounds], [0, 1, 2], 3)]


def _offer_columns(batch: Batch, given: Places, now: datetime) -> dict[str, object]:
    """Write what is sent, looping over options, never over users."""
    users = len(given)
    texts = {name: np.full(users, None, dtype=object) for name in ("play", "channel", "message", "featured_category")}
    texts["offer_id"] = repeated(NO_OFFER, users)
    send_at, valid_until = np.full((2, users), np.datetime64("NaT", "us"))
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    sent = [max(now, midnight + timedelta(hours=hour)) for hour in range(24)]  # an hour that is over: at once
    discount, hours = np.zeros(users), np.array([_in_utc(instant) for instant in sent])
    favourite = batch.frame["favourite_category_90d"].astype(object)
    hour = batch.frame["favourite_hour_90d"].fillna(12).astype(int).to_numpy()
    catalogue = batch.options.catalogue
    for place, (offer, option) in enumerate(zip(catalogue.offer_of_options, catalogue.options, strict=True)):
        rows = np.flatnonzero(given == place)
        ends = now + timedelta(days=offer.valid_days)
        category = favourite.iloc[rows].where(favourite.iloc[rows].notna(), "your favourites")
        texts["offer_id"][rows], texts["play"][rows], texts["channel"][rows] = offer.offer_id, offer.play, offer.channel
        texts["featured_category"][rows] = category
        texts["message"][rows] = category.map(
            {name: offer.text(option.discount, name, f"{ends:%Y-%m-%d}") for name in set(category)}
        )
        send_at[rows], valid_until[rows] = hours[hour[rows]], _in_utc(ends)
        discount[rows] = option.discount
    return {**texts, "send_at": send_at, "valid_until": valid_until, "discount": discount}


def _in_utc(instant: datetime) -> np.datetime64:
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")


def _why(policy: Policy, batch: Batch, assignment: Assignment, limits: Sequence[Limit], broken: Kinds) -> pa.ListArray:
    """Say why this offer, or why nothing."""
    lists, arm, given = ReasonLists(len(assignment.arm)), assignment.arm, assignment.given
    nothing, reasons = why_nothing(batch.options, assignment, limits, policy.why_nots)
    lists.add(np.flatnonzero(broken != ELIGIBLE), WITHDRAWN)
    lists.extend_each(np.where(given == NOTHING, nothing, ELIGIBLE), reasons)
    rows = np.flatnonzero(given != NOTHING)
    lists.add(rows[arm[rows] == EXPLORE], RANDOMISED)
    if len(rows):
        _add_why_this(lists, policy, batch, arm[rows], rows, given[rows])
    return lists.build()


def _add_why_this(lists: ReasonLists, policy: Policy, batch: Batch, arm: Texts, rows: Places, chosen: Places) -> None:
    """Say why some users get their option: what it is worth, and how the policy came to it."""
    options = batch.options
    is_known = ~np.isin(options.why_not[rows, chosen], (NOT_MEASURED, UNLIKE_COMPARED))
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
        add_effect_reasons(lists, rows, personal, policy.catalogue.options, frame, chosen, remaining)
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
    halves = [np.char.mod("%016x", hash_number(user_ids, f"{salt}:{half}")) for half in ("high", "low")]
    return np.char.add(halves[0], halves[1])


@contextmanager
def _day_writer(folder: Path) -> Iterator[Callable[[str, pa.Table], None]]:
    """Write the tables of one day into a folder, a batch at a time."""
    with ExitStack() as open_files:
        writers: dict[str, pq.ParquetWriter] = {}

        def write(name: str, rows: pa.Table) -> None:
            if name not in writers:
                path = folder / f"{name}.parquet"
                writers[name] = open_files.enter_context(pq.ParquetWriter(path, rows.schema, compression="zstd"))
            writers[name].write_table(rows)

        yield write
