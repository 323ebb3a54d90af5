"""Days that were missed: told, their features caught up, and decided only where somebody asks for it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from configs.errors import InputError
from configs.offers import Catalogue, load_catalogue
from configs.settings import load_settings
from features.storage.lake import Lake
from flows import backfill
from flows.backfill import backfilled_days, catch_up, missed_days
from flows.runs import opened_run
from flows.runs.outcome import Outcome
from serving.stored_days.decided_before import require_in_order

TODAY = date(2024, 7, 10)


def decided(lake: Lake, *days: date) -> Lake:
    for day in days:
        lake.files.write(lake.partition_name("decisions", day), b"")
    return lake


@pytest.mark.parametrize(
    ("decided_before", "missed"),
    [((), 0), ((1,), 0), ((4, 1), 0), ((4,), 3), ((0, 2), 1), ((0,), 0)],
    ids=["nothing", "yesterday", "an older gap", "three days", "a rerun", "today alone"],
)
def test_days_between_the_newest_decided_day_and_today_are_missed(
    tmp_path: Path, decided_before: tuple[int, ...], missed: int
) -> None:
    lake = decided(Lake(tmp_path), *(TODAY - timedelta(days=ago) for ago in decided_before))
    expected = [TODAY - timedelta(days=ago) for ago in range(missed, 0, -1)]
    assert missed_days(load_settings(), lake, TODAY) == expected
    assert missed_days(load_settings(schedule={"score_cron": "0 5 * * 1"}), lake, TODAY) == []  # Mondays only


def test_the_daily_run_tells_missed_days_and_builds_a_month_of_them_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, built = decided(Lake(tmp_path), TODAY - timedelta(days=41)), []
    monkeypatch.setattr(backfill, "open_run", lambda *_: (load_settings(), lake, TODAY))
    monkeypatch.setattr(backfill, "build_aggregates", lambda *_: [])
    monkeypatch.setattr(backfill, "take_snapshot", lambda settings, lake, day: built.append(day))
    (told,) = catch_up(None, None, None)
    assert "no decisions were made for 40 days (2024-05-31 to 2024-07-09); winback backfill --decisions" in told
    assert built == [TODAY - timedelta(days=ago) for ago in range(31, 0, -1)]


def test_the_features_of_a_day_that_is_made_up_for_know_what_the_day_before_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days, done = [TODAY - timedelta(days=ago) for ago in (2, 1, 0)], []
    lake = decided(Lake(tmp_path), days[1])  # which keeps its decisions
    monkeypatch.setattr(opened_run, "open_run", lambda *_, **__: (load_settings(), lake, TODAY))
    monkeypatch.setattr(backfill, "open_run", lambda *_: (load_settings(), lake, TODAY))
    monkeypatch.setattr(backfill, "build_aggregates", lambda *_: done.append("aggregates"))
    monkeypatch.setattr(backfill, "take_snapshot", lambda settings, lake, day: done.append(day) or True)
    monkeypatch.setattr(backfill, "create_markdown_artifact", lambda *_, **__: None)

    def decide(profile: str | None, data_dir: str, day: date, *, in_hindsight: bool) -> Outcome:
        assert in_hindsight
        done.append(f"decided {day:%d}")
        return Outcome("score-users", day)

    monkeypatch.setattr(backfill, "score_users", decide)
    told = backfill.backfill.fn(None, str(tmp_path), days[0], days[-1], decisions=True).warnings
    assert (
        told[0] == f"{days[0]}: decided after later days, what those gave does not count for it; send none of its "
        "messages"
    )
    assert done == ["aggregates", days[0], "decided 08", "aggregates", days[1], days[2], "decided 10", "aggregates"]


def test_a_day_is_not_decided_after_a_later_one_whose_offers_would_not_count_for_it(tmp_path: Path) -> None:
    settings = load_settings(churn={"horizon_days": 28})
    lake, catalogue = decided(Lake(tmp_path), TODAY), load_catalogue("example")
    reach = max([28, *(offer.valid_days for offer in catalogue.offers)])
    assert all(offer.total_stock is None and offer.cool_down_days <= reach for offer in catalogue.offers)
    for ago in (1, reach):
        with pytest.raises(
            InputError, match=r"has no decisions and 2024-07-10 has: .*; decide days in their order, or"
        ):
            require_in_order(lake, settings, catalogue, TODAY - timedelta(days=ago))
    for day in (TODAY, TODAY + timedelta(days=1), TODAY - timedelta(days=reach + 1)):  # a rerun; the next; too far
        require_in_order(lake, settings, catalogue, day)
    require_in_order(lake, settings, Catalogue(offers=()), TODAY - timedelta(days=1))
    limited = catalogue.offers[0].model_copy(update={"total_stock": 1000})
    with pytest.raises(InputError, match="decide days in their order"):
        require_in_order(lake, settings, Catalogue(offers=(limited,)), TODAY - timedelta(days=300))


@pytest.mark.parametrize(
    ("first", "last", "sentence"),
    [
        (None, TODAY, "add --from"),
        (TODAY, TODAY - timedelta(days=1), "the last day, 2024-07-09, lies before the first, 2024-07-10; swap --from"),
    ],
)
def test_days_that_cannot_be_made_up_for_are_one_sentence(first: date | None, last: date, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        backfilled_days(first, last)
