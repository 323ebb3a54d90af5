from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from configs.errors import InputError
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from serving.decide.decision_columns import SCHEMA
from serving.lookups.user_day import decision_of
from serving.report_page.summary import examples, summarise
from serving.stored_days.day_tables import day_folder, decided_days
from serving.wording.reason_codes import ASKED, IN_CONTROL, LOWERS, NO_PLACE, NOTHING_PAYS, RAISES

AS_OF = date(2024, 7, 1)
MOMENT = datetime(2024, 7, 1, tzinfo=UTC)
MODELS = "churn-logistic-1, value-pace-2, redemption-logistic-3"
FALSE_REASON = "a (raises the risk); income: 9"  # a trait value, not two reasons


def rare(days: int) -> list[dict[str, object]]:
    """Reasons of a user who came on few days."""
    return [
        {"code": RAISES, "column": "active_days_count_90d", "number": float(days)},
        {"code": LOWERS, "column": "trait_plan", "value": FALSE_REASON},
    ]


Row = dict[str, object]


def decision(user_id: str, p_churn: float | None, worth: float | None, **fields: object) -> Row:
    """A decision of a user who gets nothing, unless `fields` say otherwise."""
    band = "unknown" if p_churn is None else "high" if p_churn >= 0.5 else "medium" if p_churn >= 0.2 else "low"
    row: Row = {
        "decision_id": f"d{user_id}", "user_id": user_id, "as_of": MOMENT, "arm": "policy", "offer_id": "none",
        "discount": 0.0, "p_churn": p_churn, "risk_band": band, "stage": "active", "retained_value": worth,
        "p_redeem": 0.0, "expected_cost": 0.0, "expected_value": 0.0, "propensity": 1.0,
        "why": [{"code": NOTHING_PAYS}], "evidence": "none", "model_versions": MODELS,
    }  # fmt: skip
    return row | fields


def offer(**fields: object) -> Row:
    """Fields of a decision to give a coupon."""
    given: Row = {
        "offer_id": "type_c", "play": "category coupons", "channel": "mail", "discount": 0.4, "p_redeem": 0.1,
        "benefit": "percent", "benefit_level": 0.4,
        "expected_cost": 1.25, "expected_value": 2.5, "evidence": "observational", "send_at": MOMENT,
        "message": "40% off BREAD", "why": [{"code": "worth", "value": "USD", "effect": 2.5}],
    }  # fmt: skip
    return given | fields


INCOME = {"code": LOWERS, "column": "trait_income", "number": 9.0}
LAPSED = [{"code": "not_active", "number": 56.0}]
DAY = [
    decision("a", 0.6, 100.0, reasons=rare(2), **offer()),
    decision("b", 0.3, 1000.0, reasons=rare(4)),
    decision("c", 0.1, 2000.0, reasons=rare(50), **offer(p_redeem=0.3, expected_cost=1.0)),
    decision("d", 0.2, 10.0, arm="control", why=[{"code": IN_CONTROL}], reasons=[INCOME]),
    decision("e", None, None, arm="suppressed", why=LAPSED, suppressed_because=LAPSED, stage="lapsed"),
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
    asked = ["payment_failed", *ASKED]
    rows = [decision(f"u{place}", 0.1, 1.0, why=[{"code": code}]) for place, code in enumerate(asked)]
    write_decisions(lake, rows[::-1])
    summary = summarise(lake, AS_OF)
    assert [why[0]["code"] for why in summary.nothing["why"]] == asked
    assert summary.withdrawn == 1


def test_reasons_asked_at_once_come_most_users_first(lake: Lake) -> None:
    full = [[{"code": NO_PLACE, "value": name}] for name in "abb"]
    write_decisions(lake, [decision(f"u{place}", 0.1, 1.0, why=why) for place, why in enumerate(full)])
    nothing = summarise(lake, AS_OF).nothing
    assert [(why[0]["value"], users) for why, users in zip(nothing["why"], nothing["users"], strict=True)] == [
        ("b", 2),
        ("a", 1),
    ]


def test_users_without_an_offer_are_counted_by_reason(lake: Lake) -> None:
    nothing = summarise(lake, AS_OF).nothing
    assert {why[0]["code"]: users for why, users in zip(nothing["why"], nothing["users"], strict=True)} == {
        NOTHING_PAYS: 1, IN_CONTROL: 1, "not_active": 1,
    }  # fmt: skip


def test_drivers_are_what_raises_the_risk_of_users_at_risk(lake: Lake) -> None:
    plan = {"code": RAISES, "column": "trait_plan", "value": "free"}
    mixed = [INCOME, plan, {**plan, "column": "trait_seats", "value": None, "number": 2.0}]
    write_decisions(lake, [*DAY, decision("f", 0.7, 5.0, reasons=mixed), decision("g", 0.1, 5.0, reasons=mixed)])
    drivers = summarise(lake, AS_OF).drivers.set_index("column")
    assert drivers.index.tolist() == ["active_days_count_90d", "trait_plan", "trait_seats"]  # what lowers is no driver
    assert drivers["users"].tolist() == [2, 1, 1]
    assert drivers["strongest"].tolist() == [2, 1, 0]  # of what raises
    assert (drivers.loc["active_days_count_90d", "number"], drivers.loc["trait_plan", "value"]) == (3.0, "free")


def test_a_trait_that_reads_like_a_reason_is_none(lake: Lake) -> None:
    drivers = summarise(lake, AS_OF).drivers
    assert list(zip(drivers["column"], drivers["users"], strict=True)) == [("active_days_count_90d", 2)]
    assert decision_of(lake, AS_OF, "a")["reasons"][1]["value"] == FALSE_REASON


def test_who_is_expected_to_leave_is_counted_over_all_and_whose_risk_is_unknown_by_stage(lake: Lake) -> None:
    gone = decision("f", None, None, arm="suppressed", stage="left")
    refusing = decision("g", None, None, stage="active", why=[{"code": "no_profiling"}])
    fresh = decision("h", None, None, stage="new", why=[{"code": "not_active", "number": 28.0}])
    write_decisions(lake, [*DAY, gone, refusing, fresh])
    summary = summarise(lake, AS_OF)
    assert summary.expected_leavers == pytest.approx(0.6 + 0.3 + 0.1 + 0.2)
    assert summary.leavers_at_risk == pytest.approx(0.6 + 0.3 + 0.2)
    assert summary.base_rate == pytest.approx(1.2 / 4)
    assert summary.unscored == {"lapsed": 1, "left": 1, "new": 1, "refusing": 1}


def test_examples_take_turns_and_leave_out_whose_risk_is_unknown(lake: Lake) -> None:
    assert examples(lake, AS_OF)["user_id"].tolist() == ["c", "b", "a", "d"]
    assert len(examples(lake, AS_OF, count=2)) == 2


def test_an_unknown_user_is_answered_with_ids_that_are_near_and_with_no_others(lake: Lake) -> None:
    assert decision_of(lake, AS_OF, "b")["retained_value"] == 1000
    with pytest.raises(InputError, match=r"no user 'B '.*; did you mean b\?$"):
        decision_of(lake, AS_OF, "B ")
    users = len(DAY)
    with pytest.raises(
        InputError, match=rf"no user 'zz-9'.*; none of its {users} ids is like it; they begin with a, b"
    ):
        decision_of(lake, AS_OF, "zz-9")


def test_a_day_without_decisions_names_the_command(lake: Lake) -> None:
    assert decided_days(lake) == [AS_OF]
    with pytest.raises(InputError, match="winback score-users --as-of 2024-07-02"):
        summarise(lake, date(2024, 7, 2))


def test_a_damaged_decisions_file_is_named(lake: Lake) -> None:
    (day_folder(lake, AS_OF) / "decisions.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"decisions\.parquet"):
        summarise(lake, AS_OF)
