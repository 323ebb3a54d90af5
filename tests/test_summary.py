from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from configs.errors import InputError
from features.storage.lake import Lake
from features.storage.parquet_files import write_parquet
from serving.decide.day_tables import day_folder, decided_days
from serving.decide.decisions import SCHEMA
from serving.decide.no_offer_reasons import DO_NOT_PAY, LEFT_ALONE, NO_PLACE, NOT_KNOWN, OTHERWISE
from serving.lookups.user_explanation import decision_of
from serving.report_page.summary import examples, summarise

AS_OF = date(2024, 7, 1)
MOMENT = datetime(2024, 7, 1, tzinfo=UTC)
MODELS = "churn-logistic-1, value-pace-2, redemption-logistic-3"
RARE = "days with activity in 90 days: {} (raises the risk); plan: a; b (lowers the risk)"
Row = dict[str, object]


def decision(user_id: str, p_churn: float | None, worth: float | None, **fields: object) -> Row:
    """A decision of a user who gets nothing, unless `fields` say otherwise."""
    band = "unknown" if p_churn is None else "high" if p_churn >= 0.5 else "medium" if p_churn >= 0.2 else "low"
    row: Row = {
        "decision_id": f"d{user_id}", "user_id": user_id, "as_of": MOMENT, "arm": "policy", "offer_id": "none",
        "discount": 0.0, "p_churn": p_churn, "risk_band": band, "stage": "active", "remaining_value": worth,
        "p_redeem": 0.0, "expected_cost": 0.0, "expected_value": 0.0, "propensity": 1.0, "why": "nothing pays",
        "evidence": "none", "model_versions": MODELS,
    }  # fmt: skip
    return row | fields


def offer(**fields: object) -> Row:
    """Fields of a decision to give a coupon."""
    given: Row = {
        "offer_id": "type_c", "play": "category coupons", "channel": "mail", "discount": 0.4, "p_redeem": 0.1,
        "expected_cost": 1.25, "expected_value": 2.5, "evidence": "observational", "send_at": MOMENT,
        "message": "40% off BREAD", "why": "worth +2.50 USD",
    }  # fmt: skip
    return given | fields


DAY = [
    decision("a", 0.6, 100.0, reasons=RARE.format(2), **offer()),
    decision("b", 0.3, 1000.0, reasons=RARE.format(4)),
    decision("c", 0.1, 2000.0, reasons=RARE.format(50), **offer(p_redeem=0.3, expected_cost=1.0)),
    decision("d", 0.2, 10.0, arm="control", why="in the control group", reasons="income: 9 (lowers the risk)"),
    decision("e", None, None, arm="suppressed", why="not active", suppressed_because="not active", stage="lapsed"),
]


def write_decisions(lake: Lake, rows: list[Row], as_of: date = AS_OF) -> None:
    write_parquet(pa.Table.from_pylist(rows, schema=SCHEMA), day_folder(lake, as_of) / "decisions.parquet")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    write_decisions(lake, DAY)
    return lake


def test_counts_and_sums_are_those_of_the_decisions(lake: Lake) -> None:
    summary = summarise(lake, AS_OF)
    assert (summary.users, summary.known, summary.with_offer, summary.in_control) == (5, 4, 2, 1)
    assert summary.by_band == {"high": 1, "low": 1, "medium": 2, "unknown": 1}
    assert summary.at_risk == 3
    assert summary.worth_at_risk == 100 + 1000 + 10
    assert summary.expected_loss == pytest.approx(60 + 300 + 2)
    assert summary.value_at_risk == pytest.approx(60 + 300 + 2 + 200)
    assert (summary.expected_cost, summary.expected_value) == (2.25, 5.0)
    assert summary.model_versions == [MODELS]


def test_offers_are_counted_by_offer_discount_and_channel(lake: Lake) -> None:
    (row,) = summarise(lake, AS_OF).offers.to_dict("records")
    assert (row["offer_id"], row["discount"], row["channel"], row["users"], row["at_risk"]) == (
        "type_c",
        0.4,
        "mail",
        2,
        1,
    )
    assert row["p_redeem"] == pytest.approx(0.2)
    assert row["evidence"] == "observational"


def test_reasons_for_nothing_come_in_the_order_in_which_they_are_asked(lake: Lake) -> None:
    asked = [
        ("suppressed", "not active"), ("control", "in the control group"), ("explore", "drawn by lot"),
        ("policy", "past offers speak for another rule"), ("policy", NOT_KNOWN), ("policy", LEFT_ALONE),
        ("policy", DO_NOT_PAY), ("policy", f"{NO_PLACE}channel email earns more"), ("policy", OTHERWISE),
    ]  # fmt: skip
    rows = [decision(f"u{place}", 0.1, 1.0, arm=arm, why=why) for place, (arm, why) in enumerate(asked)]
    write_decisions(lake, rows[::-1])
    nothing = summarise(lake, AS_OF).nothing
    assert list(zip(nothing["arm"], nothing["why"], strict=True)) == asked


def test_users_without_an_offer_are_counted_by_reason(lake: Lake) -> None:
    nothing = summarise(lake, AS_OF).nothing
    assert dict(zip(nothing["why"], nothing["users"], strict=True)) == {
        "nothing pays": 1, "in the control group": 1, "not active": 1,
    }  # fmt: skip


def test_drivers_are_the_reasons_of_users_at_risk_only(lake: Lake) -> None:
    drivers = summarise(lake, AS_OF).drivers.set_index(["reason", "direction"])
    days = drivers.loc[("days with activity in 90 days", "raises")]
    assert (days["users"], days["strongest"], days["typical"]) == (2, 2, 3.0)
    plan = drivers.loc[("plan", "lowers")]
    assert (plan["users"], plan["strongest"]) == (2, 0)
    assert drivers.loc[("income", "lowers"), "strongest"] == 1


def test_examples_take_turns_and_leave_out_whose_risk_is_unknown(lake: Lake) -> None:
    assert examples(lake, AS_OF)["user_id"].tolist() == ["c", "b", "a", "d"]
    assert len(examples(lake, AS_OF, count=2)) == 2


def test_an_unknown_user_is_answered_with_the_nearest_ids(lake: Lake) -> None:
    assert decision_of(lake, AS_OF, "b")["remaining_value"] == 1000
    with pytest.raises(InputError, match=r"no user 'zz'.*nearest ids are a, b, c"):
        decision_of(lake, AS_OF, "zz")


def test_a_day_without_decisions_names_the_command(lake: Lake) -> None:
    assert decided_days(lake) == [AS_OF]
    with pytest.raises(InputError, match="winback score-users --as-of 2024-07-02"):
        summarise(lake, date(2024, 7, 2))


def test_a_damaged_decisions_file_is_named(lake: Lake) -> None:
    (day_folder(lake, AS_OF) / "decisions.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"decisions\.parquet"):
        summarise(lake, AS_OF)
