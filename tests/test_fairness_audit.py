"""The audit of fairness: shares of contacts, discount and worth by group, with intervals that hold together."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from configs.settings import Settings, load_settings
from features.materialise.user_traits import user_traits
from features.storage.lake import USERS_FILE, Lake
from features.tables.parquet_files import write_parquet
from serving.decide.decision_columns import SCHEMA
from serving.fairness.fairness_audit import audit_rows, audited, write_audit
from serving.stored_days.day_tables import day_folder

DAY = date(2024, 7, 1)
MOMENT = datetime(2024, 7, 1, tzinfo=UTC)


def settings_in(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path)


def written(settings: Settings, given: np.ndarray, gender: np.ndarray, band: np.ndarray) -> list[dict[str, object]]:
    """Audit a day on which those `given` got 20% off, worth 2 to winback."""
    lake, ids = Lake(settings.data_dir), [f"u{place:04d}" for place in range(len(given))]
    rows = [
        {"user_id": each, "as_of": MOMENT, "offer_id": "coupon" if is_given else "none", "risk_band": str(risk),
         "discount": 0.2 if is_given else 0.0, "expected_value": 2.0 if is_given else 0.0}
        for each, is_given, risk in zip(ids, given, band, strict=True)
    ]  # fmt: skip
    write_parquet(pa.Table.from_pylist(rows, schema=SCHEMA), day_folder(lake, DAY) / "decisions.parquet")
    users = {"user_id": ids, "gender": pa.array(gender, pa.string()), "birth_year": [1990.0] * len(ids)}
    write_parquet(pa.table(users), lake.path(USERS_FILE))
    with lake.files.lock("test"):
        write_audit(settings, lake, DAY)
    return [row for row in audit_rows(lake, DAY) if row["trait"] == "gender"]


def test_shares_are_those_of_the_decisions_and_a_favoured_group_is_named(tmp_path: Path) -> None:
    gender = np.repeat(["f", "m"], 400)
    given = np.concatenate([np.arange(400) < 200, np.arange(400) < 80])
    women, men = written(settings_in(tmp_path), given, gender, np.full(800, "low"))
    assert (women["group"], women["users"], women["contacts"], women["contact_share"]) == ("f", 400, 200, 0.5)
    assert women["contact_difference"] == pytest.approx(0.3)
    assert women["contact_difference_low"] > 0.2
    assert (women["value_share"], women["user_share"]) == (pytest.approx(200 / 280), 0.5)
    assert (women["discount"], women["discount_low"]) == (pytest.approx(0.2), pytest.approx(0.2))
    assert (women["is_named"], men["is_named"]) == (True, True)
    assert women["expected_share"] == pytest.approx(0.35)  # by risk alone, which is everybody's


def test_what_the_risk_of_a_group_explains_stands_beside_its_share(tmp_path: Path) -> None:
    gender, band = np.repeat(["f", "m"], 400), np.where(np.arange(800) % 400 < 200, "low", "high")
    band[:200] = "high"  # all women are at high risk, half of the men
    women, men = written(settings_in(tmp_path), band == "high", gender, band)
    assert (women["expected_share"], men["expected_share"]) == (1.0, 0.5)
    assert (women["contact_share"], men["contact_share"]) == (1.0, 0.5)


def test_chance_is_not_called_unfair() -> None:
    settings, chance = load_settings(), np.random.default_rng(3)
    named = 0
    for _ in range(300):
        counts = [
            {"group": f"g{place}", "users": 500, "contacts": int(chance.binomial(500, 0.2)), "discount": 0.1,
             "discount_deviation": 0.0, "value": 1.0, "value_deviation": 1.0, "expected_share": 0.2}
            for place in range(6)
        ]  # fmt: skip
        rows = audited("gender", counts, settings)
        named += any(row["contact_difference_low"] > 0 or row["contact_difference_high"] < 0 for row in rows)
    assert named <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_small_groups_are_left_out_and_nothing_is_audited_where_nothing_is_known() -> None:
    settings = load_settings()
    row = {"contacts": 9, "discount": 0.1, "discount_deviation": 0.0, "value": 1.0, "value_deviation": 1.0,
           "expected_share": 0.2}  # fmt: skip
    assert audited("gender", [{"group": "unknown", "users": 900, **row}], settings) == []
    found = audited("gender", [{"group": "f", "users": 900, **row}, {"group": "x", "users": 9, **row}], settings)
    assert [each["group"] for each in found] == ["f"]


def test_protected_traits_reach_no_model_unless_the_profile_lets_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    users = {"user_id": ["a", "b"], "gender": ["f", "m"], "birth_year": [1980.0, 1990.0], "faith": ["x", "y"]}
    write_parquet(pa.table(users), lake.path(USERS_FILE))
    assert set(user_traits(lake, settings_in(tmp_path))) == {"faith"}
    more = load_settings(data_dir=tmp_path, features={"protected": ["gender", "birth_year", "faith"]})
    assert user_traits(lake, more) == {}
    allowed = load_settings(data_dir=tmp_path, features={"protected": ["birth_year"]})
    assert set(user_traits(lake, allowed)) == {"gender", "faith"}
