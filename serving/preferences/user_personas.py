"""The persona of each user of a day, by the newest training; who was one before stays it until they have moved."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date

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

SALT = "personas"


def _no_keys() -> npt.NDArray[np.uint64]:
    return np.zeros(0, np.uint64)


def _nobody() -> Kinds:
    return np.zeros(0, np.int8)


@dataclass(frozen=True)
class UserPersonas:
    """A persona model, None where there is none, and who was which persona on the day before.

    `keys` are hashes of user ids in order, `before` the persona of each: ids themselves would take ten times as much.
    """

    model: PersonaModel | None = None
    keys: npt.NDArray[np.uint64] = field(default_factory=_no_keys)
    before: Kinds = field(default_factory=_nobody)

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
        named = np.full(len(frame), None, dtype=object)
        if self.model is None or not self.model.names or not is_active.any():
            return named
        users = frame.loc[is_active, ["user_id", *self.model.scale.columns]]
        found = self.model.personas_of(users, self._before(users["user_id"]))
        named[is_active] = np.array(self.model.names, dtype=object)[found]
        return named

    def _before(self, user_ids: pd.Series) -> Places:
        if not len(self.keys):
            return np.full(len(user_ids), NOBODY)
        keys = hash_number(user_ids, SALT)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.before[places], NOBODY).astype(np.intp)


def read_personas(lake: Lake, as_of: date) -> UserPersonas:
    """Read the newest model on or before a day, and who was which of its personas on the decided day before that.

    Raises
    ------
    InputError
        One of them is damaged.
    """
    model = latest_personas(lake, as_of)
    days = [day for day in decided_days(lake) if day < as_of]
    if model is None or not model.names or not days:
        return UserPersonas(model)
    rows = read_parquet(day_file(lake, days[-1], "decisions"), ["user_id", PERSONA])
    places = {name: place for place, name in enumerate(model.names)}
    coded = rows[PERSONA].combine_chunks().dictionary_encode()
    codes = np.array([*(places.get(name, NOBODY) for name in coded.dictionary.to_pylist()), NOBODY], np.int8)
    before = codes[pc.fill_null(coded.indices, len(codes) - 1).to_numpy()]
    is_known = before != NOBODY
    keys = hash_number(rows["user_id"].to_pandas()[is_known], SALT)
    order = np.argsort(keys, kind="stable")
    return UserPersonas(model, keys[order], before[is_known][order])
