"""The persona of each user by the newest training; users keep theirs until they have clearly moved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc

from features.arrays.array_types import Flags, Kinds, Places, Texts
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet
from models.metrics.splits import hash_number
from models.personas.persona_model import NOBODY, PersonaModel
from models.personas.stored_personas import latest_personas
from serving.segments.known_columns import PERSONA
from serving.stored_days.day_tables import day_file, decided_days
from serving.stored_days.short_days import days_since_complete

SALT = "personas"
UsersOf = Callable[[date, tuple[str, ...]], Iterable[tuple[pd.DataFrame, Flags]]]  # of a day, with shares of tastes


def _no_keys() -> npt.NDArray[np.uint64]:
    return np.zeros(0, np.uint64)


def _nobody() -> Kinds:
    return np.zeros(0, np.int8)


class NamedUsers(NamedTuple):
    """Users by hashes of their ids, shape (users,), and the place of each one's persona among `names`, or `NOBODY`."""

    keys: npt.NDArray[np.uint64] = _no_keys()
    places: Kinds = _nobody()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class UserPersonas:
    """A persona model, None where there is none, and who was which persona on the day before.

    `keys` are hashes of user ids in order, `before` the persona of each: ids themselves would take ten times as much.
    """

    model: PersonaModel | None = None
    keys: npt.NDArray[np.uint64] = field(default_factory=_no_keys)
    before: Kinds = field(default_factory=_nobody)

    @classmethod
    def after(cls, model: PersonaModel | None, earlier: NamedUsers) -> UserPersonas:
        """Take a model, and who was which of its personas; of one that it names no more nothing is remembered."""
        if model is None or not model.names:
            return cls(model)
        now = {name: place for place, name in enumerate(model.names)}
        before = np.array([*(now.get(name, NOBODY) for name in earlier.names), NOBODY], np.int8)[earlier.places]
        is_known = before != NOBODY
        keys = earlier.keys[is_known]
        order = np.argsort(keys, kind="stable")
        return cls(model, keys[order], before[is_known][order])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the personas."""
        return self.model.names if self.model is not None else ()

    @property
    def tastes(self) -> tuple[str, ...]:
        """Groups of categories whose shares tell the persona, as columns of the frame."""
        return self.model.tastes if self.model is not None and self.model.names else ()

    @property
    def digest(self) -> str:
        """Name of all that decides who is which persona; empty where nobody is any."""
        if self.model is None or not self.model.names:
            return ""
        digest = hashlib.sha256("|".join(self.model.names).encode())
        for each in (self.model.centroids, self.model.scale.mean, self.model.scale.spread, self.keys, self.before):
            digest.update(each.tobytes())
        return digest.hexdigest()[:16]

    def of(self, frame: pd.DataFrame, is_active: Flags) -> Texts:
        """Name the persona of each user, shape (users,); None of who is not active, or where there are no personas."""
        return np.array([*self.names, None], dtype=object)[self.places_of(frame, is_active)]

    def places_of(self, frame: pd.DataFrame, is_active: Flags) -> Kinds:
        """Find the persona of each user among `names`, shape (users,); `NOBODY` as `of` tells None."""
        found = np.full(len(frame), NOBODY, np.int8)
        if self.model is not None and self.model.names and is_active.any():
            users = frame.loc[is_active, ["user_id", *self.model.scale.columns]]
            found[is_active] = self.model.personas_of(users, self._before(users["user_id"]))
        return found

    def carried_on(self, users: Iterable[tuple[pd.DataFrame, Flags]]) -> NamedUsers:
        """Name the users of a day, who come in batches, each with who of them is active."""
        found = [(hash_number(frame["user_id"], SALT), self.places_of(frame, is_active)) for frame, is_active in users]
        keys, places = zip((_no_keys(), _nobody()), *found, strict=True)
        return NamedUsers(np.concatenate(keys), np.concatenate(places), self.names)

    def _before(self, user_ids: pd.Series) -> Places:
        if not len(self.keys):
            return np.full(len(user_ids), NOBODY)
        keys = hash_number(user_ids, SALT)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.before[places], NOBODY).astype(np.intp)


def read_personas(lake: Lake, as_of: date, users_of: UsersOf) -> UserPersonas:
    """Read the newest model on or before a day, and who was which of its personas on the day before, as is known now.

    Mostly that day's decisions say it. Where days were missed, or decided short of events that have come since
    (`days_since_complete`), the decisions before these are carried on over their snapshots, each by the newest model
    of its day. They are carried on no further than snapshots in a row reach back from the day.

    Parameters
    ----------
    users_of
        Reads the users of a day as scoring does, a batch at a time, with who of them is active.

    Raises
    ------
    InputError
        A file is damaged.
    """
    model = latest_personas(lake, as_of)
    if model is None or not model.names:
        return UserPersonas(model)
    days = days_since_complete(lake, as_of)
    decided = [day for day in decided_days(lake) if day < min([*days, as_of])]
    named = _decided(lake, decided[-1]) if decided else NamedUsers()
    for day in days:
        personas = UserPersonas.after(latest_personas(lake, day), named)
        named = personas.carried_on(users_of(day, personas.tastes))
    return UserPersonas.after(model, named)


def _decided(lake: Lake, day: date) -> NamedUsers:
    """Read who was which persona by the decisions of a day."""
    rows = read_parquet(day_file(lake, day, "decisions"), ["user_id", PERSONA])
    coded = rows[PERSONA].combine_chunks().dictionary_encode()
    places = pc.fill_null(coded.indices, NOBODY).to_numpy().astype(np.int8)
    is_known = places != NOBODY
    keys = hash_number(rows["user_id"].to_pandas()[is_known], SALT)
    return NamedUsers(keys, places[is_known], tuple(coded.dictionary.to_pylist()))
