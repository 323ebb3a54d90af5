"""What status says of runs: when the schedule fires, what steps took, who writes, how old the newest day is."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect._vendor.croniter import croniter

from configs.errors import InputError
from configs.settings import load_settings
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from flows.lookup import status
from flows.runs.next_run import next_run
from flows.runs.run_records import recorded, run_records
from flows.runs.run_status import (
    disk_used,
    early_notes,
    empty_notes,
    freshness_lines,
    last_guards,
    lock_owner,
    run_lines,
)
from flows.runs.run_steps import step
from models.registry.registry_state import DATABASE
from serving.guards.guard_findings import FIRED, PASSED, Finding, findings_table

NOW = datetime(2024, 7, 1, 12, 30, tzinfo=UTC)
AS_OF = date(2024, 7, 1)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """One field of a cron line: all, a number, a step, a range or a list."""
    number = st.integers(low, high)
    spans = st.tuples(number, number).filter(lambda ends: ends[0] < ends[1]).map("{0[0]}-{0[1]}".format)
    steps, pairs = st.integers(2, 9).map("*/{}".format), st.tuples(number, number).map("{0[0]},{0[1]}".format)
    return st.one_of(st.just("*"), st.just(f"{low}-{high}"), number.map(str), steps, spans, pairs)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(field(0, 59), field(0, 23), st.one_of(field(1, 28), st.just("1-31")), field(1, 12), field(0, 6)),
    st.datetimes(datetime(2023, 1, 1), datetime(2026, 12, 31)),
    st.sampled_from(["UTC", "Asia/Tokyo", "America/Sao_Paulo"]),
)
def test_the_next_run_is_the_one_that_the_scheduler_itself_finds(words, moment, zone):
    line, after = " ".join(words), moment.replace(tzinfo=UTC)
    assert next_run(line, zone, after) == croniter(line, after.astimezone(ZoneInfo(zone))).get_next(datetime)


@pytest.mark.parametrize("line", ["* * */2 * 0-6", "0 5 1-31 * 1", "0 5 */1 * 1", "30 1 13 * 0-7", "0 0 * * 7"])
def test_a_field_that_names_all_days_is_read_as_the_scheduler_reads_it(line: str) -> None:
    assert next_run(line, "UTC", NOW) == croniter(line, NOW).get_next(datetime)


@pytest.mark.parametrize(
    "line", ["", "@daily", "0 5 * *", "61 5 * * *", "0 5 * * someday", "0 5 32 * *", "0/0 5 * * *"]
)
def test_what_is_no_cron_line_of_five_fields_is_not_guessed(line: str) -> None:
    assert next_run(line, "UTC", NOW) is None


def test_an_hour_that_a_clock_skips_is_passed_over() -> None:
    before = datetime(2024, 3, 30, 12, tzinfo=UTC)
    assert str(next_run("30 2 * * *", "Europe/Berlin", before)) == "2024-04-01 02:30:00+02:00"


def test_the_steps_of_a_run_are_kept_with_it_also_where_one_fails(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(InputError), recorded(lake, "score-daily"):
        with recorded(lake, "ingest"), step("read source", "reading") as taken:
            taken.rows = 7
        with step("decisions", "decisions"):
            raise InputError("no snapshot")
    with recorded(lake, "report"):
        pass
    first, second = run_records(lake)
    assert [(each["name"], each["rows"]) for each in first.steps] == [("read source", 7), ("decisions", 0)]
    assert all(each["seconds"] >= 0 and each["peak_mib"] > 0 for each in first.steps)
    assert second.steps == []


def test_status_says_what_ran_why_it_ended_and_who_writes(tmp_path: Path) -> None:
    lake, found = Lake(tmp_path), load_settings(data_dir=tmp_path)
    with pytest.raises(InputError), recorded(lake, "ingest"):
        raise InputError("the source is gone")
    lake.files.write("events/day=2024-06-29/events.parquet", b"12345")
    with recorded(lake, "score-users"), lake.files.lock("winback score-users"):
        lines, facts = run_lines(found, lake, AS_OF, NOW)
    ran = {title.split(" of ")[0]: text for title, text in lines.items() if title.startswith("run ")}
    assert ran == {"run ingest": "refused in 0 s: the source is gone", "run score-users": "running"}
    assert lines["newest events"] == "2024-06-29, 1 day behind"
    assert lines["newest decisions"] == "none"
    assert lines["next score-daily"] == "2024-07-02 05:00 UTC, if winback schedule were running"
    assert lines["writing now"].startswith("winback score-users (run ")
    assert facts["disk_bytes"]["events"] == 5
    assert [each["command"] for each in facts["runs"]] == ["score-users", "ingest"]
    json.dumps(facts)
    assert run_lines(found, lake, AS_OF, NOW)[0]["writing now"] == "nobody"


def test_a_folder_that_holds_nothing_is_told(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "daat")
    assert empty_notes(lake, {"events": [AS_OF], "decisions": []}) == []
    (note,) = empty_notes(lake, {"events": [], "decisions": []})
    assert note.startswith(f"{lake.root} holds nothing yet: winback ingest fills it")
    lake.path(DATABASE).parent.mkdir(parents=True)
    lake.path(DATABASE).touch()
    assert empty_notes(lake, {"events": [], "decisions": []}) == []


def test_status_is_of_the_newest_decided_day_where_the_profile_names_an_earlier_one(tmp_path: Path) -> None:
    lake, profile, newest = Lake(tmp_path / "data"), tmp_path / "app.toml", AS_OF + timedelta(days=4)
    profile.write_text(f"as_of = {AS_OF}\n", encoding="utf-8")
    for day, code in ((AS_OF, "nothing"), (newest, "quiet_days")):
        state = FIRED if code == "quiet_days" else PASSED
        found = Finding("freshness", state, "warn", 1.0, code, "2024-07-01", 3.0)
        write_parquet(findings_table([found]), lake.path("decisions", f"day={day}", "guards.parquet"))
        write_parquet(findings_table([]), lake.partition("decisions", day))
    shown = status(str(profile), str(lake.root), None)
    assert (shown.as_of, shown.outputs["newest decisions"]) == (newest, str(newest))
    assert any(note.startswith(f"guards, {newest}: there is no event for 3 days") for note in shown.warnings)
    assert shown.facts["guards"]["day"] == newest
    assert status(str(profile), str(lake.root), AS_OF).facts["guards"]["day"] == AS_OF


def test_a_day_that_was_decided_by_a_clock_that_was_ahead_is_told(tmp_path: Path) -> None:
    lake, found = Lake(tmp_path), load_settings(data_dir=tmp_path, time_zone="Asia/Tokyo")
    for day in (AS_OF, AS_OF + timedelta(days=1)):
        write_parquet(findings_table([]), lake.partition("decisions", day))
    (note,) = early_notes(found, lake, NOW)
    assert note.startswith("2024-07-02 was decided before it began: the clock was ahead; when it comes, winback score")
    assert early_notes(found, lake, NOW + timedelta(hours=3)) == []  # it is the 2nd there
    tomorrow = datetime.now(UTC).date() + timedelta(days=2)
    write_parquet(findings_table([]), lake.partition("decisions", tomorrow))
    assert any(f"{tomorrow} was decided" in note for note in status(None, str(tmp_path), None).warnings)


def test_a_lock_that_a_killed_run_left_is_nobody_s(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    owner = {"command": "winback ingest", "run": "abc", "process": 1, "since": "2024-07-01", "host": "here"}
    lake.files.write(".lock", json.dumps(owner).encode())
    assert lock_owner(lake, []) == owner
    with recorded(lake, "ingest"):
        pass
    (ended,) = run_records(lake)
    lake.files.write(".lock", json.dumps(owner | {"run": ended.run}).encode())
    assert lock_owner(lake, [ended]) is None
    for damaged in (b"", b"null", b"{", b'{"run": 1}'):
        lake.files.write(".lock", damaged)
        assert lock_owner(lake, []) is None


def test_an_empty_folder_has_a_status_too(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert freshness_lines(lake, AS_OF) == {"newest events": "none", "newest decisions": "none"}
    assert disk_used(lake) == {}
    assert last_guards(lake, AS_OF + timedelta(days=1)) == (None, [], [])
