"""What the decisions changed: numbers by hand, users who left, whom the comparison leaves out, when it must wait."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from apps import App, event, small_app
from matplotlib.figure import Figure
from nights import without_prefect
from synthetic import small_settings
from test_cli import Shell, write_profile
from test_ledger import append

from configs.offers import Catalogue, Offer
from features.training_data.frames import KNOWN_BEFORE, measured_frame
from models.measurement.lift import Lift, lift, measure
from models.model_cards import pictures
from models.model_cards.pictures import offers_picture
from serving.offer_measurement.closed_decisions import collect_closed, first_decisions, sample_ratio
from serving.offer_measurement.measured_lift import notes, verdict
from serving.stored_days.ledger import SCHEMA

DAY = date(2024, 3, 1)
CLOSED = DAY + timedelta(days=28)
TREATED, CONTROL = [f"t{number:02d}" for number in range(60)], [f"c{number:02d}" for number in range(40)]
SETTINGS: dict[str, object] = {
    "churn": {"lookback_days": 56, "horizon_days": 28},
    "response": {"retained_from_day": 14},
    "value": {"gross_margin": 0.3},
    "scoring": {"control_share": 0.4},
}
CATALOGUE = Catalogue(
    offers=(
        Offer(
            offer_id="come_back", title="T", play="p", channel="push", message="m", discounts=(0.1,), valid_days=7,
            contact_cost=0.004, covered_spend=10.0,
        ),
    )
)  # fmt: skip


def on(offset: int, clock: str = "12:00", day: date = DAY) -> str:
    return f"{day + timedelta(days=offset)} {clock}"


def bought(user: str, offset: int, amount: float, clock: str = "12:00", **columns: object) -> dict[str, object]:
    return event(user, on(offset, clock), "purchase", amount=amount, **columns)


def redeemed(user: str, offset: int, amount: float, discount: float) -> list[dict[str, object]]:
    money = {"amount": amount, "discount": discount}
    return [
        bought(user, offset, amount, discount=discount),
        event(user, on(offset), "offer_redeem", offer_id="come_back", **money),
    ]


def entry(user: str, arm: str, day: date = DAY, *, meant: bool = True, gets: bool | None = None) -> dict[str, object]:
    """Ledger row; who is meant to get the offer gets it in the arm of the policy."""
    is_given = meant and arm == "policy" if gets is None else gets
    offer = ("come_back", 0.1, "push")
    given, intended = offer if is_given else ("none", 0.0, None), offer if meant else ("none", 0.0, None)
    return {
        "decision_id": f"{user}|{day}", "user_id": user, "as_of": datetime(day.year, day.month, day.day, tzinfo=UTC),
        "trigger": "nightly", "policy_version": "v", "arm": arm, "stage": "weekly", "propensity": 1.0,
        **dict(zip(("offer_id", "discount", "channel"), given, strict=True)),
        **dict(zip(("intended_offer_id", "intended_discount", "intended_channel"), intended, strict=True)),
    }  # fmt: skip


def app_of(folder: Path, events: list, entries: list, **overrides: object) -> App:
    """App with these events and this ledger, landed, and aggregated."""
    app = small_app(folder, overrides={**SETTINGS, **overrides}, events=events)
    app.ingest()
    for day in sorted({row["as_of"].date() for row in entries}):
        rows = [row for row in entries if row["as_of"].date() == day]
        append(app.lake, pa.Table.from_pylist(rows, schema=SCHEMA), CATALOGUE, "Asia/Tokyo")
    app.aggregate()
    return app


def known_world() -> tuple[list, list]:
    """Of 60 treated 45 pay 9 late with an offer of 1, of 40 controls 10 pay 10 soon; all others have left."""
    events = [bought(user, -3, 20.0) for user in TREATED + CONTROL]
    events += [row for user in TREATED[:45] for row in redeemed(user, 20, 9.0, 1.0)]
    events += [bought(user, 5, 10.0) for user in CONTROL[:10]]
    entries = [entry(user, "policy") for user in TREATED] + [entry(user, "control") for user in CONTROL]
    return events, entries


def distractions() -> tuple[list, list]:
    """Users that are no part of the comparison, all of them rich; the split of those who count stays 40 to 60."""
    names = {"t-nothing": "policy", "c-nothing": "control", "as-usual": "business_as_usual", "barred": "suppressed"}
    entries = [entry(user, arm, meant=user == "as-usual") for user, arm in names.items()]
    entries += [entry("at-random", "explore", gets=True), entry("at-random", "policy", DAY + timedelta(days=7))]
    entries += [entry("new", "policy", DAY + timedelta(days=7))]  # not closed yet
    return [bought(user, 20, 1000.0) for user in [*names, "at-random", "new"]], entries


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Measured without Prefect, whose server takes longer to start; test_demo.py runs the command with it."""
    folder = tmp_path_factory.mktemp("measured")
    parts = known_world(), distractions()
    app = app_of(folder, parts[0][0] + parts[1][0], parts[0][1] + parts[1][1])
    with pytest.MonkeyPatch.context() as patch:
        without_prefect(patch)
        yield Shell(write_profile(app, folder / "known.toml"), app.settings.data_dir)


@pytest.fixture(scope="module")
def answer(shell: Shell) -> dict:
    return shell.answer("measure-offers", "--as-of", str(CLOSED))


def test_the_lifts_are_those_computed_by_hand(answer: dict) -> None:
    values = {name: metric["value"] for name, metric in answer["metrics"].items()}
    for subject in ("offers", "come_back", "channel_push", "stage_weekly"):
        assert values[f"{subject}.lift_revenue"] == pytest.approx(45 * 9 / 60 - 10 * 10 / 40)
        # 30% of the full price, less the discount; a contact costs 0.004 whether or not it worked
        assert values[f"{subject}.lift_margin"] == pytest.approx(45 * (0.3 * 10 - 1) / 60 - 0.004 - 10 * 3 / 40)
        assert values[f"{subject}.lift_conversion"] == pytest.approx(45 / 60 - 10 / 40)
        assert values[f"{subject}.lift_retention"] == pytest.approx(45 / 60)  # the controls came before day 14 only
    assert values["offers.relative_lift_conversion"] == pytest.approx(2.0)
    assert (values["treated.revenue_per_user"], values["control.revenue_per_user"]) == (6.75, 2.5)
    assert (values["treated.retention_rate"], values["control.retention_rate"]) == (0.75, 0.0)
    assert answer["metrics"]["offers.lift_margin"]["n"] == 100


def test_the_verdicts_are_told_and_the_overall_one_first(answer: dict) -> None:
    overall, split, *others = answer["warnings"]
    assert overall.startswith("offers: margin: helps, +0.746 [")
    assert "not enough data (users in control with the rarer answer: 0, at least 5 are needed)" in overall
    assert [other.split(":")[0] for other in others] == ["come_back", "channel_push", "stage_weekly"]
    assert "39.4% of the users are in the control group, 40.0% meant: as chance has it" in split


def test_every_user_that_was_not_barred_counts_once_in_the_split(answer: dict) -> None:
    # with t-nothing, c-nothing, at-random (once) and new; without business as usual, which was split off before
    assert answer["metrics"]["offers.srm_p_value"]["n"] == 104
    assert answer["metrics"]["offers.srm_p_value"]["value"] > 0.9


def test_a_folder_keeps_the_lifts_and_a_picture_and_a_rerun_changes_no_byte(shell: Shell, answer: dict) -> None:
    folder = Path(answer["outputs"]["measurement"])
    assert folder == shell.data_dir / "measurements" / f"day={CLOSED}"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"lifts.json", "lifts.png"}
    facts = json.loads(before["lifts.json"])
    assert (facts["first_day"], facts["last_day"], facts["users"]) == (str(DAY), str(DAY), 100)
    assert [found["name"] for found in facts["lifts"]][:2] == ["offers.lift_margin", "offers.lift_retention"]
    assert facts["sample_ratio"]["control"] == 41
    again = shell.answer("measure-offers", "--as-of", str(CLOSED))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {**again, "seconds": 0, "peak_mib": 0} == {**answer, "seconds": 0, "peak_mib": 0}


def test_before_the_first_window_is_over_the_run_says_from_which_day_on(shell: Shell) -> None:
    early = shell.answer("measure-offers", "--as-of", str(CLOSED - timedelta(days=1)))
    assert "was made on 2024-03-01 and can be measured from 2024-03-29 on" in early["warnings"][0]
    assert set(early["metrics"]) == {"offers.srm_p_value"}
    assert early["outputs"] == {}
    assert not (shell.data_dir / "measurements" / f"day={CLOSED - timedelta(days=1)}").exists()


def test_without_a_ledger_the_run_ends_well_too(shell: Shell) -> None:
    answer = shell.answer("measure-offers", "--as-of", str(DAY))
    assert "has no decision before 2024-03-01 that meant an offer" in answer["warnings"][0]
    assert "can be measured from 2024-03-29 on" in answer["warnings"][0]
    assert (answer["metrics"], answer["outputs"]) == ({}, {})


def test_the_first_decision_that_meant_an_offer_is_the_one_that_counts(tmp_path: Path) -> None:
    days = [DAY + timedelta(days=7 * week) for week in range(3)]
    entries = [entry("a", "policy", day, meant=day > days[0]) for day in days]
    entries += [entry("b", "control", day) for day in days]
    entries += [entry("drawn", arm, day) for arm, day in zip(("policy", "explore"), days[1:], strict=True)]
    entries += [entry("explorer", arm, day) for arm, day in zip(("explore", "policy"), days[:2], strict=True)]
    app = app_of(tmp_path, [bought("a", 8, 5.0), bought("b", -1, 5.0)], entries)
    frame = collect_closed(app.settings, app.lake, days[2] + timedelta(days=28)).frame
    found = list(frame[["user_id", "day", "group", "offer_id", "channel"]].itertuples(index=False, name=None))
    assert found == [
        ("b", days[0], "control", "come_back", "push"),
        ("a", days[1], "treated", "come_back", "push"),
        ("drawn", days[1], "treated", "come_back", "push"),
    ]
    assert frame["revenue"].tolist() == [0.0, 5.0, 0.0]


@pytest.mark.parametrize("names", [("noon", "nightly", "abc"), ("abc", "noon", "nightly")])
def test_of_two_triggers_at_one_instant_the_night_counts(tmp_path: Path, names: tuple[str, ...]) -> None:
    arms = {"nightly": "control", "abc": "policy", "noon": "explore"}
    rows = [entry("a", arms[name]) | {"trigger": name, "decision_id": name} for name in names]
    rows += [
        entry("b", arms[name]) | {"trigger": name, "decision_id": f"b{name}"} for name in names if name != "nightly"
    ]
    con = ibis.duckdb.connect()
    ledger = con.create_table("ledger", pa.Table.from_pylist(rows, schema=SCHEMA))
    first = first_decisions(ledger)
    assert first[["user_id", "group"]].to_numpy().tolist() == [["a", "control"], ["b", "treated"]]
    settings = small_settings(scoring={"control_share": 0.4})
    ratio = sample_ratio(ledger, settings)
    assert ratio is not None
    assert (ratio.control, ratio.treated) == (1, 1)


def test_windows_end_where_they_should(tmp_path: Path) -> None:
    amounts = {-91: 1.0, -90: 2.0, -29: 4.0, -28: 8.0, -1: 16.0, 0: 32.0, 27: 64.0, 28: 128.0}
    events = [bought("a", offset, amount, "00:00") for offset, amount in amounts.items()]
    events += [bought("a", -2, 256.0, received_at=on(2))]  # nobody knew of it when the first offer was decided
    events += [event("a", on(3), "refund", amount=-2.0), event("b", on(13), "session_start")]
    events += [event("c", on(14, "00:00"), "session_start"), event("c", on(-2), "session_start")]
    later = DAY + timedelta(days=10)
    entries = [entry("a", "policy"), entry("a", "policy", later), entry("b", "control"), entry("c", "control")]
    entries += [entry("gone", "policy", gets=False)]
    app = app_of(tmp_path, events, entries)
    with app.history(later + timedelta(days=28)) as history:
        frame = measured_frame(history, pd.DataFrame(entries)).set_index(["user_id", "day"])
    with app.history(later + timedelta(days=27)) as history:
        assert len(measured_frame(history, pd.DataFrame(entries))) == 4
    first, second = frame.loc[("a", DAY)], frame.loc[("a", later)]
    assert (first.revenue, second.revenue) == (32.0 + 64.0, 64.0 + 128.0)
    assert first.margin == pytest.approx(0.3 * (96.0 - 2.0) - 2 * 0.004)  # its window holds the second contact too
    assert second.margin == pytest.approx(0.3 * 192.0 - 0.004)
    for row in (first, second):  # from before the first decision, whichever row it is
        assert (row.pre_spend, row.pre_active_days, row.pre_purchases) == (30.0, 2.0, 4.0)
    assert frame.loc[("b", DAY), ["revenue", "is_converted", "is_retained"]].tolist() == [0, 0, 0]
    assert frame.loc[("c", DAY), ["is_converted", "is_retained", "pre_active_days"]].tolist() == [0, 1, 1]
    assert frame.loc[("gone", DAY), ["revenue", "margin", "is_converted", "is_retained", *KNOWN_BEFORE]].eq(0).all()


def test_the_day_is_that_of_the_app_s_midnight(tmp_path: Path) -> None:
    rows = [entry("a", "control") | {"as_of": datetime(2024, 2, 29, 15, tzinfo=UTC)}]
    app = small_app(tmp_path, overrides={**SETTINGS, "time_zone": "Asia/Tokyo"}, events=[bought("a", 0, 5.0)])
    app.ingest()
    append(app.lake, pa.Table.from_pylist(rows, schema=SCHEMA), CATALOGUE, "Asia/Tokyo")
    app.aggregate()
    frame = collect_closed(app.settings, app.lake, CLOSED).frame
    assert frame[["day", "revenue"]].to_numpy().tolist() == [[DAY, 5.0]]
    assert collect_closed(app.settings, app.lake, CLOSED - timedelta(days=1)).first_day == DAY


def test_a_group_that_lost_users_is_told_and_one_that_was_never_meant_too(tmp_path: Path) -> None:
    events, entries = known_world()
    kept = [row for row in entries if row["arm"] == "policy" or row["user_id"] < "c10"]
    app = app_of(tmp_path, events, kept)
    measured = collect_closed(app.settings, app.lake, CLOSED)
    assert measured.ratio is not None and measured.ratio.is_mismatch
    told = list(notes(app.settings, CLOSED, measured, measure(measured.frame, KNOWN_BEFORE)))
    assert "14.3% of the users are in the control group, 40.0% meant: a mismatch" in told[1]
    assert "not enough data (users in the control group: 10, at least 30 are needed)" in told[0]
    alone = app.settings.model_copy(update={"scoring": app.settings.scoring.model_copy(update={"control_share": 0.0})})
    unsplit = collect_closed(alone, app.lake, CLOSED)
    assert unsplit.ratio is None
    assert any("scoring.control_share = 0.0 leaves no group" in note for note in notes(alone, CLOSED, unsplit, []))


def test_a_ledger_in_which_nobody_was_meant_to_get_anything_says_so(tmp_path: Path) -> None:
    rows = [entry("a", "policy", meant=False), entry("b", "control", meant=False)]
    app = app_of(tmp_path, [bought("a", 3, 5.0)], rows)
    measured = collect_closed(app.settings, app.lake, CLOSED)
    told, split = notes(app.settings, CLOSED, measured, [])
    assert "has no decision before 2024-03-29 that meant an offer for anyone" in told
    assert split.startswith("50.0% of the users are in the control group")


def test_business_as_usual_leaves_a_larger_share_to_control(tmp_path: Path) -> None:
    events, entries = known_world()
    scoring = {"control_share": 0.2, "business_as_usual_share": 0.5}
    app = app_of(tmp_path, events[:1], entries, scoring=scoring)
    ratio = collect_closed(app.settings, app.lake, CLOSED).ratio
    assert ratio is not None
    assert (ratio.expected_control_share, ratio.control, ratio.treated) == (0.4, 40, 60)


def some_lifts(subject: str, users: int) -> list[Lift]:
    rng = np.random.default_rng(3)
    group = np.repeat(["treated", "control"], users)
    spent = rng.gamma(2.0, 5.0, 2 * users) + 4.0 * (group == "treated")
    rows = pd.DataFrame({"user_id": np.arange(2 * users), "group": group, "margin": spent, "revenue": spent})
    return [lift(rows, name, subject=subject) for name in ("margin", "revenue")]


def test_a_verdict_names_what_helps_by_how_much_and_what_lacks_data() -> None:
    found = verdict("push", some_lifts("push", 200), "EUR")
    assert found.startswith("push: margin, revenue: helps, +")
    assert "] EUR a user, adjusted p = " in found
    short = "users with an offer: 5, at least 50 are needed; users in the control group: 5, at least 30 are needed"
    assert verdict("push", some_lifts("push", 5), "EUR") == f"push: margin, revenue: not enough data ({short})"


def test_the_picture_has_a_line_per_subject_and_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    lifts = [*some_lifts("offers", 200), *some_lifts("push", 5), *some_lifts("alone", 1)]
    first = offers_picture(lifts, "EUR")
    assert first.startswith(b"\x89PNG") and offers_picture(lifts, "EUR") == first
    drawn: list[Figure] = []
    draw: Callable[[Figure], bytes] = lambda figure: drawn.append(figure) or b""  # noqa: E731
    monkeypatch.setattr(pictures, "png", draw)
    offers_picture(lifts, "EUR")
    margin, revenue = drawn[0].axes
    assert [axes.get_title() for axes in (margin, revenue)] == ["margin", "revenue"]
    assert margin.get_xlabel() == "EUR a user"
    assert [label.get_text() for label in margin.get_yticklabels()] == ["offers", "push", "alone"]
    part = lifts[0].cuped
    assert part is not None
    assert margin.lines[1].get_xdata().tolist() == [part.absolute.low, part.absolute.high]
    assert len(margin.lines) == 1 + 2 * 2  # zero, two intervals with their middles; one user has no interval
