"""A day from its snapshot to its decisions: opens everything that is needed and decides about all users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from functools import partial

import pandas as pd

from configs.errors import InputError
from configs.offers import Catalogue, load_catalogue
from configs.settings import Settings
from features.arrays.array_types import Flags, Places
from features.materialise.as_of_view import AsOfView, open_as_of
from features.materialise.spark_executor import spark_machines
from features.storage.lake import USERS_FILE, Lake
from features.suppression.suppression_list import LIST_FILE
from features.tables.duckdb_sessions import duckdb_session, sql_text
from features.tables.fingerprints import file_hashes, stored_input
from features.training_data.feature_store import FeatureStore, open_store
from features.training_data.scoring_frames import count_users, known_users, scoring_batch, scoring_batch_anywhere
from features.training_data.snapshot_run import require_snapshots
from features.training_data.taste_shares import Tastes
from models.model_cards.model_notes import ValueNotes, read_notes
from models.training_run.training_record import latest_training
from serving.arms.assignment import Spending
from serving.contact_rules.contact_rule import unscored
from serving.contact_rules.rule_list import rules_of
from serving.decide.chosen_models import choose_models
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor, SparkExecutor
from serving.decide.scoring import Policy
from serving.decide.win_back_evidence import win_back_findings
from serving.earlier_contacts.past_contacts import PastContacts
from serving.guards.data_guards import data_guards
from serving.guards.guard_findings import refuse
from serving.messages.checked_texts import check_messages
from serving.messages.reader_details import ReaderDetails, read_details
from serving.plays.play_rules import PlayRules, play_rules_of, usable
from serving.preferences.user_personas import read_personas
from serving.preferences.user_preferences import read_preferences
from serving.segments.stages import stages_of
from serving.stored_days.decided_before import look_before
from serving.stored_days.decision_moment import DecisionMoment
from serving.wording.language_file import load_language


def decide_day(settings: Settings, lake: Lake, as_of: date, supersede: str | None = None) -> Spending:
    """Predict, value and decide, in batches of users, by the champions of the registry.

    Raises
    ------
    InputError
        There is no model at all, a guard that stops the run has fired, or the day was decided otherwise before and no
        reason says why that is superseded.
    """
    found = data_guards(settings, lake, as_of)
    refuse(found, as_of)
    language = load_language(settings.language)  # what cannot be read stops a run before anything is written
    with ExitStack() as sources:
        history = sources.enter_context(open_as_of(settings, lake, as_of))
        stages = stages_of(settings, history.features)
        require_snapshots(lake, [as_of], history.features, as_of)
        plays = play_rules_of(settings, history.features, load_catalogue(settings.offers))
        catalogue = usable(load_catalogue(settings.offers), plays)
        personas = read_personas(lake, as_of, partial(users_of_day, history, catalogue))
        store = open_store(lake, history.features, only=as_of)  # the last one that is opened of a single day
        chosen = choose_models(settings, lake, as_of, store, catalogue)
        churn, value, response = chosen.churn, chosen.value, chosen.response
        share = read_notes(ValueNotes, value.notes, value.lineage.name).later_share if value is not None else 0.0
        check_messages(settings, catalogue, language)
        training = latest_training(lake, as_of)
        policy = Policy(settings, catalogue, churn, value, response, language, share, fallback=chosen.fallback,
                        own_stages=stages, causes=chosen.causes, personas=personas,
                        plays=_with_cuts(plays, settings, lake, as_of), win_back=win_back_findings(lake, as_of),
                        comeback=training.comeback if training is not None else None)  # fmt: skip
        if churn is None and value is None and response is None:
            raise InputError(f"{lake.root} holds no models; run winback train-models first")
        moment = DecisionMoment.of_night(as_of, settings.time_zone)
        look_before(lake, moment, policy.version, catalogue, count_users(lake, as_of), supersede)
        tastes = Tastes(policy.personas.tastes, settings.categories)
        on_spark = settings.engine == "spark"
        executor = batches_on_spark(history, tastes) if on_spark else batches(history, store, sources.close, tastes)
        contacts = PastContacts(lake, settings, policy.catalogue, moment)
        with file_hashes(lake) as hash_of:  # consents are read beside the snapshot
            own = [name for name in (USERS_FILE, LIST_FILE) if lake.files.exists(name)]
            users = " ".join(hash_of(lake.path(name)) for name in own)
        guards = (*found, *chosen.findings)
        inputs = f"{stored_input(lake.partition('snapshots', as_of))} {users} {policy.personas.digest}"
        return decide(
            policy, lake, as_of, executor, inputs=inputs, contacts=contacts, moment=moment, guards=guards,
            supersede=supersede, preferences_of=partial(read_preferences, settings, lake, as_of, catalogue),
            readers_of=partial(readers_of_day, policy, lake, as_of),
        )  # fmt: skip


def _with_cuts(plays: PlayRules, settings: Settings, lake: Lake, as_of: date) -> PlayRules:
    """Find the numbers at which the day's users are split, where a play compares with any."""
    if not plays.splits:
        return plays
    with duckdb_session(settings) as connection:
        return plays.with_cuts(connection, f"read_parquet({sql_text(lake.partition('snapshots', as_of))})")


def readers_of_day(policy: Policy, lake: Lake, as_of: date, given: Places) -> ReaderDetails:
    """Read what messages may say of those who are given something."""
    fields = policy.message_texts.fields - policy.snapshot_fields.keys()
    return read_details(policy.settings, lake, known_users(lake, as_of), fields, given)


def users_of_day(
    history: AsOfView, catalogue: Catalogue, day: date, tastes: tuple[str, ...]
) -> Iterator[tuple[pd.DataFrame, Flags]]:
    """Read the batches of an earlier day from its snapshot, each with who is active, shape (users,).

    Raises
    ------
    InputError
        The snapshot lacks a column.
    """
    settings, lake = history.settings, history.lake
    require_snapshots(lake, [day], history.features, day)
    store, rules = open_store(lake, history.features, only=day), rules_of(settings, catalogue)
    known = batches(replace(history, as_of=day), store, lambda: None, Tastes(tastes, settings.categories))
    for read in known.frames:
        frame = read()
        yield frame, ~unscored(rules, frame)


def places_of_batches(history: AsOfView) -> list[range]:
    """Cut everybody into batches of ``scoring.batch_users``: places among all users of the snapshot."""
    everybody, size = range(count_users(history.lake, history.as_of)), history.settings.scoring.batch_users
    return [everybody[first : first + size] for first in everybody[::size]]


def batches(
    history: AsOfView, store: FeatureStore, done: Callable[[], None], tastes: Tastes | None = None
) -> LocalExecutor:
    """Read each batch when its turn comes; `done` is called when nothing is read any more."""
    settings = history.settings
    read = partial(scoring_batch, store, history.lake, history.as_of, settings.time_zone, contact=settings.contact,
                   tastes=tastes)  # fmt: skip
    return LocalExecutor([partial(read, places) for places in places_of_batches(history)], done)


def batches_on_spark(history: AsOfView, tastes: Tastes | None = None) -> SparkExecutor:
    """Let Spark's machines read and score the batches."""
    settings = history.settings
    read = partial(scoring_batch_anywhere, history.lake, history.as_of, settings.time_zone, contact=settings.contact,
                   tastes=tastes)  # fmt: skip
    return SparkExecutor(
        spark_machines(history.settings), [partial(read, places) for places in places_of_batches(history)]
    )
