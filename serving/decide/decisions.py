"""One decision for every user and day: scored in batches, allocated at once, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.consistency import check_floor
from configs.errors import InputError
from configs.offers import NOTHING
from configs.progress import track
from features.arrays.array_types import Kinds
from features.storage.lake import Lake
from features.tables.known_rows import known_rows
from features.tables.parquet_files import PACKED
from serving.arms.assignment import (
    SUPPRESSED,
    AllocationInput,
    Assignment,
    Spending,
    allocation_input,
    assign,
    base_rate,
    curve_table,
)
from serving.arms.channel_order import check_orders, in_channel_order
from serving.contact_rules.contact_history import ContactHistory, no_contacts
from serving.contact_rules.contact_rule import ELIGIBLE, Forbidden, broken_by, forbidden, unprofiled
from serving.decide.decision_columns import decisions_table, predictions_table
from serving.decide.executors import Executor
from serving.decide.scoring import Policy
from serving.decide.spooled_batches import SPOOL_FORMAT, Batch, Spool, open_spool
from serving.earlier_contacts.given_before import places_left
from serving.guards.guard_findings import Finding, findings_table
from serving.knapsack.allocation import Limit, limits_of
from serving.messages.reader_details import ReadersOf, nobody_read
from serving.preferences.user_preferences import PreferencesOf, nothing_known
from serving.stored_days import ledger
from serving.stored_days.day_basis import BASIS, basis_table
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.held_back import held_back_table, rules_table
from serving.stored_days.stored_day import draws_table, prices_table
from serving.stored_days.stored_rules import HELD_BACK, RULES

# numbers of users differ: a dictionary of them is begun and thrown away, and is as long to read
PLAIN = {"dictionary_pagesize_limit": 2**17}  # bytes, after which a column is written without one


def decide(
    policy: Policy, lake: Lake, as_of: date, executor: Executor, *, inputs: str = "",
    contacts: Callable[[], ContactHistory] = no_contacts, moment: DecisionMoment | None = None,
    guards: Sequence[Finding] = (), supersede: str | None = None, preferences_of: PreferencesOf = nothing_known,
    readers_of: ReadersOf = nobody_read,
) -> Spending:  # fmt: skip
    """Decide about every user of a day and write everything that is kept of it; a rerun writes the same bytes.

    Users are scored in batches, each once, and spooled to disk, so that a run that failed continues where it stopped.
    The budget is then allocated among all of them. All tables of the day, the entry of the ledger and the treatments
    are published together or not at all.

    Parameters
    ----------
    executor
        Scores and writes batches, on this machine or on others. Only a few numbers per user are held in memory.
    inputs
        A fingerprint of what the executor reads: a run continues an earlier one only if both have the same.
    contacts
        Reads the earlier contacts of users. It is called twice, because the contact rules are checked before the
        allocation and again before the decisions are written.
    moment
        Instant and trigger of the decisions; the nightly run by default.
    guards
        Findings of the guards, which are stored beside the decisions.
    preferences_of
        Looks up the preferences of users, given the option of each.
    readers_of
        Looks up the details of users that messages may contain, and their language, given the option of each.
    supersede
        The reason why these decisions replace others published for the same moment; without one they do not.

    Raises
    ------
    InputError
        There are no users, a capacity names an unknown channel, the floor of the exploration is too high, or the moment
        was decided otherwise before.
    """
    check_floor(policy.settings_with_trial, len(policy.catalogue.options))
    check_orders(policy.settings, policy.catalogue)
    policy = replace(policy, contacts=contacts())
    pieces = f"{executor.batches} x {policy.settings.scoring.batch_users}"
    moment = moment or DecisionMoment.of_night(as_of, policy.settings.time_zone)
    limits = limits_of(policy.catalogue, policy.settings, places_left(lake, policy.catalogue, moment))
    key = f"winback {version('winback')} {SPOOL_FORMAT} {policy.version} {as_of} {moment.name} {pieces} {inputs}"
    place = lake.path("scoring", moment.place)
    with lake.files.lock("decisions"), open_spool(place, key, policy.catalogue) as spool:
        allocation_inputs = _score_users(policy, executor, spool, limits, as_of)
        limits = limits if policy.catalogue.options else ()
        assignment = assign(allocation_inputs, policy.settings_with_trial, limits, executor.remote_reduce(spool))
        policy = replace(
            policy,
            contacts=contacts(),
            base_rate=base_rate(allocation_inputs),
            preferences=preferences_of(assignment.given),
            readers=readers_of(assignment.given),
        )
        with lake.files.publish() as publication:
            with (
                ledger.appending(lake, publication, moment, supersede) as append,
                _day_writer(publication.folder(moment.folder)) as write,
            ):
                write("budget_curve", curve_table(allocation_inputs, policy.settings, limits))
                write("guards", findings_table(guards))
                write(BASIS, _basis_of(policy, lake, as_of))
                for name, table in _tables_of_day(policy, assignment.spending, limits).items():
                    write(name, table)
                for each in allocation_inputs:
                    write("draws", draws_table(each))
                parts = assignment.parts(allocation_inputs)
                del allocation_inputs  # what they were read from is mapped into memory
                written = executor.tables(
                    spool, parts, lambda batch, part: tables_of(policy, batch, part, limits, moment)
                )
                for tables in track(written, "decisions written", len(parts)):
                    for name in list(tables):
                        (append if name == "ledger" else partial(write, name))(tables.pop(name))  # and forget them
            ledger.land(lake, publication, as_of, policy.catalogue, policy.settings.time_zone)
    return assignment.spending


def _score_users(
    policy: Policy, executor: Executor, spool: Spool, limits: Sequence[Limit], as_of: date
) -> list[AllocationInput]:
    """Score all users in batches, and keep what the allocation needs of each batch.

    Raises
    ------
    InputError
        There are no users.
    """

    def input_of_batch(batch: Batch) -> AllocationInput:
        return allocation_input(
            batch.frame["user_id"], batch.p_churn, batch.options, policy.settings, limits, as_of, policy.trial,
            policy.win_back, batch.p_return * batch.value_if_back, takes_turns=policy.takes_turns,
        )  # fmt: skip

    scored = executor.allocation_inputs(policy, spool, input_of_batch)
    allocation_inputs = list(track(scored, "users scored", executor.batches))
    if not sum(len(part.arm) for part in allocation_inputs):
        raise InputError(f"there is nobody to decide about on {as_of}; ingest users or choose another as_of")
    return allocation_inputs


def _basis_of(policy: Policy, lake: Lake, as_of: date) -> pa.Table:
    """List the models, settings, offers and rows that the decisions rest on."""
    return basis_table(policy.model_versions, policy.settings, policy.catalogue, known_rows(lake, as_of))


def _tables_of_day(policy: Policy, spending: Spending, limits: Sequence[Limit]) -> dict[str, pa.Table]:
    """Make the tables that are about the day as a whole, by name."""
    return {
        "spending": spending.table(),
        RULES: rules_table(policy.rules),
        "tastes": policy.preferences.tastes.rows,
        "hours": policy.preferences.hours_table(),
        "prices": prices_table(spending, policy.settings_with_trial, limits, policy.catalogue),
    }


def tables_of(
    policy: Policy, batch: Batch, assignment: Assignment, limits: Sequence[Limit], moment: DecisionMoment
) -> dict[str, pa.Table]:
    """Make the tables about the users of a batch, by name; `assignment` is the part of the batch."""
    frame = policy.contacts.fresh(batch.frame)
    found = forbidden(policy.rules, frame, policy.contacts_of(frame), policy.catalogue)
    batch, assignment, broken = withdraw(batch, assignment, found)
    user_ids, seed = batch.frame["user_id"], policy.settings.seed
    assignment, orders_channels = in_channel_order(assignment, batch.options, user_ids, found, seed)
    decisions = decisions_table(policy, batch, assignment, limits, moment, broken, orders_channels)
    share = assignment.spending.exploration_share
    return {
        "predictions": predictions_table(batch, moment.day, policy.settings),
        "options": batch.options.table(batch.frame, policy.why_nots, unprofiled(policy.rules, frame)),
        "decisions": decisions,
        HELD_BACK: held_back_table(batch.frame["user_id"], found.broken),
        "ledger": ledger.entry_table(decisions, assignment.intended, policy.catalogue, policy.version, share),
    }


def withdraw(batch: Batch, assignment: Assignment, eligibility: Forbidden) -> tuple[Batch, Assignment, Kinds]:
    """Take back what is forbidden by the time it is written: who would get it gets nothing, and it is said.

    Returns
    -------
    Batch and assignment without those offers, and the kind of rule that each broke, shape (users,).
    """
    broken = broken_by(assignment.given, eligibility)
    rows = np.flatnonzero(broken != ELIGIBLE)
    if not len(rows):
        return batch, assignment, broken
    ineligible, why_not = batch.options.ineligible.copy(), batch.options.why_not.copy()
    ineligible[rows] = broken[rows]
    why_not[rows] = np.where(eligibility.option[rows] == ELIGIBLE, why_not[rows], eligibility.option[rows])
    given, arm = assignment.given.copy(), assignment.arm.copy()
    given[rows], arm[rows] = NOTHING, SUPPRESSED
    batch = replace(batch, options=replace(batch.options, ineligible=ineligible, why_not=why_not))
    return batch, replace(assignment, given=given, arm=arm), broken


@contextmanager
def _day_writer(folder: Path) -> Iterator[Callable[[str, pa.Table], None]]:
    """Write the tables of one day into a folder, a batch at a time."""
    with ExitStack() as open_files:
        writers: dict[str, pq.ParquetWriter] = {}

        def write(name: str, rows: pa.Table) -> None:
            if name not in writers:
                path = folder / f"{name}.parquet"
                writers[name] = open_files.enter_context(pq.ParquetWriter(path, rows.schema, **PACKED, **PLAIN))
            writers[name].write_table(rows)

        yield write
