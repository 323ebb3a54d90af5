"""Rows of a snapshot by arrays: a column does what an Ibis column does."""

from __future__ import annotations

import ibis
import numpy as np
import pyarrow as pa
import pytest

from features.engine.snapshot_columns import Column

VALUES = [0.0, -1.5, 2.0, 90.0, float("nan"), 91.0]
STEPS = {
    "nullif": lambda days: days.nullif(0.0),
    "fill_null": lambda days: days.fill_null(7.0),
    "clip": lambda days: days.clip(lower=2.0),
    "filled and clipped": lambda days: days.fill_null(1.0).clip(lower=90.0),
    "cast": lambda days: days.cast("float64"),
    "compared": lambda days: (days < 2.0).fill_null(False).cast("float64"),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_column_does_what_an_ibis_column_does(step):
    rows = ibis.memtable(pa.table({"place": range(len(VALUES)), "days": pa.array(VALUES, from_pandas=True)}))
    declared = rows.mutate(found=step(rows.days)).order_by("place").execute()["found"]
    found = step(np.array(VALUES).view(Column)).astype(float)
    np.testing.assert_array_equal(np.asarray(found), declared.to_numpy(dtype=float))
