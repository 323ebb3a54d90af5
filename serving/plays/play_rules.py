"""The target users of each play, by its rules `when` and `fact`, evaluated for many users in one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from configs.offers import Catalogue, Offer
from configs.segment_files import rule_line
from configs.settings import Settings
from features.arrays.array_types import Array, Flags
from features.definitions.registry import Feature
from serving.segments.day_query import Cuts, DaySources, cuts_of, quoted, split_sql
from serving.segments.definitions import compiled_beside, known_kinds
from serving.segments.known_columns import OF_OPTIONS, PERSONA, PREDICTED, STAGE, Kind
from serving.segments.language import Place
from serving.segments.rules import ARROW, Rule, Split

WHEN, FACT = "when", "fact"
HOLDS = "is_meant_for:"  # before the name of a play: the column that says whom it is meant for
TOO_LATE = {*OF_OPTIONS, "risk_band"}  # known only once everybody is valued
GIVEN = {STAGE, PERSONA, *PREDICTED}  # what a batch of users is told beside its snapshot


@dataclass(frozen=True)
class PlayRules:
    """The rules of a catalogue's plays, as plain data.

    `rules` holds for each play the rules that must all hold, by the field that says so (`when`, `fact`); a play without
    any is for everybody. `left_out` says of each play that this app cannot have which column it lacks. `kinds` are
    those of the columns that rules read, `cuts` the numbers that split the day's users.
    """

    rules: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    cuts: Cuts = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Kind]:
        """Columns that the rules read, with their kind."""
        every = [rule for own in self.rules.values() for rule in own.values()]
        names = [name for rule in every for name in (*rule.columns, *(split.column for split in rule.splits))]
        return {name: self.kinds[name] for name in dict.fromkeys(names)}

    @property
    def splits(self) -> list[Split]:
        """What splits all users of a day, which rules compare with."""
        every = {split for own in self.rules.values() for rule in own.values() for split in rule.splits}
        return sorted(every, key=lambda split: split.name)

    def with_cuts(self, connection: duckdb.DuckDBPyConnection, snapshot: str) -> PlayRules:
        """Find the numbers that split the users of a snapshot, the SQL source of which is given."""
        cuts = cuts_of(connection, DaySources(snapshot), self.splits)
        return PlayRules(self.rules, self.left_out, self.kinds, cuts)

    def sql(self, play: str) -> str:
        """Write the expression that says whom a play is meant for; who is not known to fulfil it is not."""
        parts = " AND ".join(f"({rule.sql})" for rule in self.rules[play].values())
        return f"coalesce({parts}, false)"

    def holds(self, frame: pd.DataFrame, known_columns: Mapping[str, Array]) -> dict[str, Flags]:
        """Say whom each play with a rule is meant for, in one query; flags of shape (users,) by `HOLDS` and the play.

        Parameters
        ----------
        frame
            Columns of the snapshot; a column that it lacks is unknown of everybody.
        known_columns
            What is known beside it: stage, persona and predictions, shape (users,) each.
        """
        if not self.rules:
            return {}
        arrays = {name: _column(frame, known_columns, name, kind) for name, kind in self.columns.items()}
        users = pa.table({**arrays, "place": pa.array(np.arange(len(frame)))})
        own = "".join(f", {split_sql(split, self.cuts)} AS {quoted(split.name)}" for split in self.splits)
        asked = ", ".join(f"{self.sql(play)} AS {quoted(HOLDS + play)}" for play in self.rules)
        with duckdb.connect() as connection:
            connection.register("users", users)
            found = connection.execute(f"SELECT {asked} FROM (SELECT *{own} FROM users) ORDER BY place")
            return {name: np.asarray(flags) for name, flags in found.fetchnumpy().items()}


def play_rules_of(settings: Settings, features: Iterable[Feature], catalogue: Catalogue) -> PlayRules:
    """Check and compile the rules of the plays of an app; `features` are the columns of its snapshots, with traits.

    Raises
    ------
    InputError
        A rule is wrong, or rests on what is known only once everybody is valued; the sentence names file and line.
    """
    features = list(features)
    kinds = known_kinds(features)
    plays = {play: offers[0] for play, offers in catalogue.plays.items()}
    left_out = {play: lack for play, offer in plays.items() for lack in offer.needs if lack not in kinds}
    texts = {
        (play, key): (getattr(offer, key), _place(offer, play, key))
        for play, offer in plays.items()
        for key in (WHEN, FACT)
        if getattr(offer, key) and play not in left_out
    }
    if not texts:
        return PlayRules(left_out=left_out)
    compiled = compiled_beside(settings, features, texts)
    for asked, rule in compiled.items():
        _refuse_too_late(rule, texts[asked][1])
    rules = {
        play: {key: compiled[play, key] for key in (WHEN, FACT) if (play, key) in compiled}
        for play in dict.fromkeys(play for play, _ in compiled)
    }
    return PlayRules(rules, left_out, kinds)


def usable(catalogue: Catalogue, rules: PlayRules) -> Catalogue:
    """Leave out the plays that an app cannot have."""
    if not rules.left_out:
        return catalogue
    return Catalogue(offers=tuple(each for each in catalogue.offers if play_of(each) not in rules.left_out))


def play_of(offer: Offer) -> str:
    """Name the play of an offer."""
    return offer.play_id or offer.offer_id


def _refuse_too_late(rule: Rule, place: Place) -> None:
    late = [name for name in rule.columns if name in TOO_LATE]
    split = [split.column for split in rule.splits if split.column in GIVEN]
    if late:
        raise place.error(
            f"rests on {late[0]!r}, which is known only once everybody is valued; compare p_churn, retained_value or "
            "columns of the snapshot"
        )
    if split:
        raise place.error(f"splits users by {split[0]!r}, which is predicted only later; compare it with a number")


def _place(offer: Offer, play: str, key: str) -> Place:
    path = offer.rule_file or Path("the catalogue")
    return Place(f"{key} of play {play!r}", path, rule_line(offer.rule_text, play, key))


def _column(frame: pd.DataFrame, known_columns: Mapping[str, Array], name: str, kind: Kind) -> pa.Array:
    if name in known_columns:
        return pa.array(known_columns[name], ARROW[kind], from_pandas=True)
    if name in frame:
        return pa.array(frame[name], ARROW[kind], from_pandas=True)
    return pa.nulls(len(frame), ARROW[kind])
