"""A month of nights whose files come late, twice or not at all ends in the decisions of nights that all went well.

Models are trained once, by the weekly flow, on the day before the first night; `make test` has a short form of this in
the tests of the command line.
"""

from __future__ import annotations

import signal
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from apps import TINY_AS_OF, tiny_app
from nights import Nights, delivers_daily, differing, without_prefect
from served import PATIENCE, Served
from test_cli import write_profile

from flows import scheduled_runs
from flows.runs.run_records import run_records

NIGHTS = 30
FIRST = TINY_AS_OF - timedelta(days=NIGHTS)
pytestmark = pytest.mark.full


def night(number: int) -> date:
    return FIRST + timedelta(days=number)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """The tiny app as it was before the first night."""
    folder = tmp_path_factory.mktemp("calendar")
    tiny = tiny_app(folder)
    raw = Path(tiny.settings.ingest.raw)
    events, treatments = (pq.read_table(raw / f"{name}.parquet") for name in ("events", "treatments"))
    arrived = pc.coalesce(events["received_at"], events["occurred_at"]).cast(pa.date32())
    earlier = treatments.filter(pc.less(treatments["decided_at"].cast(pa.date32()), pa.scalar(FIRST)))
    delivers_daily(tiny, events.filter(pc.less(arrived, pa.scalar(FIRST))), earlier)  # from then on winback decides
    arrivals = {night(number): events.filter(pc.equal(arrived, pa.scalar(night(number)))) for number in range(NIGHTS)}
    nights = Nights(tiny, write_profile(tiny, folder / "app.toml"), arrivals)
    with pytest.MonkeyPatch.context() as patched:
        without_prefect(patched)
        scheduled_runs.train_weekly(str(nights.profile), str(nights.lake.root), FIRST)
    return nights


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    without_prefect(monkeypatch)


def copied(trained: Nights, folder: Path, *, explored: float) -> Nights:
    """Copy an app; a share of its users is given offers at random."""
    app = trained.app.copy_to(folder)
    scoring = app.settings.scoring.model_dump(mode="json")
    scoring["exploration"] |= {"share": explored, "budget_share": 1.0}
    scoring["batch_users"] = 1000
    profile = write_profile(app, folder / "app.toml", scoring=scoring)
    return Nights(app, profile, trained.arrivals).new_folder()


def test_a_month_of_faults_that_are_made_up_for_in_time_ends_as_if_there_had_been_none(
    trained: Nights, tmp_path: Path
) -> None:
    days = [night(number) for number in range(1, NIGHTS + 1)]
    clean = copied(trained, tmp_path / "clean", explored=0.5).all_is_well(days)
    dirty = copied(trained, tmp_path / "dirty", explored=0.5)
    for number, as_of in enumerate(days, 1):
        yesterday = as_of - timedelta(days=1)
        if number in (8, 9, 20):  # the machine is down, or the file of the day is not there: nobody decides
            continue
        for day in (each for each in dirty.arrivals if each <= yesterday):
            dirty.deliver(day)
        if number in (10, 21):  # somebody makes up for that before the schedule goes on
            dirty.make_up_for(night(8 if number == 10 else 20), yesterday)
        if number in (5, 15):
            dirty.deliver(yesterday, name="-again")
        dirty.run(as_of)
        if number in (3, 15, 22):  # the night is run twice
            dirty.run(as_of)
    assert differing(clean, dirty, days) == []
    assert sum(pc.sum(pc.not_equal(clean.results(day)["decisions"]["offer_id"], "none")).as_py() for day in days) > 50
    assert {record.outcome for record in run_records(dirty.lake)} == {"done"}


def test_nights_that_were_missed_or_short_of_a_file_change_no_later_one(trained: Nights, tmp_path: Path) -> None:
    days = [night(number) for number in range(1, 11)]
    clean, dirty = (copied(trained, tmp_path / name, explored=0.0) for name in ("clean", "dirty"))
    clean.all_is_well(days)
    told = {}
    for number, as_of in enumerate(days, 1):
        if number in (3, 4):  # the machine is down
            continue
        late = {6: [night(5)], 7: [night(5)]}.get(number, [])  # a file is two days late; the schedule goes on without
        for day in (each for each in dirty.arrivals if each < as_of and each not in late):
            dirty.deliver(day)
        told[number] = dirty.run(as_of)
    complete = [day for day in days if day not in {night(number) for number in (3, 4, 6, 7)}]
    assert differing(clean, dirty, complete) == []
    assert "no decisions were made for 2 days (2024-06-22 to 2024-06-23)" in told[5][0]
    caught_up = [night(3), night(4)]
    assert all(dirty.lake.has_partition("snapshots", day) for day in caught_up)
    snapshots = [[pq.read_table(one.lake.partition("snapshots", day)) for day in caught_up] for one in (clean, dirty)]
    assert snapshots[0] == snapshots[1]


@pytest.fixture
def rebooted(trained: Nights, tmp_path: Path) -> Nights:
    """The app of the calendar, whose schedule never fires by itself."""
    found = copied(trained, tmp_path / "rebooted", explored=0.5)
    never = {"port": 0, "score_cron": "0 5 29 2 *", "train_cron": "0 5 29 2 *", "measure_cron": "0 5 29 2 *"}
    scoring = found.app.settings.scoring.model_dump(mode="json")
    scoring["exploration"] |= {"share": 0.5, "budget_share": 1.0}
    times = found.app.settings.schedule.model_dump(mode="json") | never
    write_profile(found.app, found.profile, schedule=times, scoring=scoring)
    return found


def test_a_night_in_which_the_machine_went_down_is_finished_and_so_is_the_next(
    rebooted: Nights, trained: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebooted.deliver(FIRST)
    served = Served(rebooted, tmp_path / "first.log")
    try:
        served.begin(night(1))
        served.within(lambda: "decisions for everybody" in served.log.read_text())
    finally:
        served.power_off()
    assert not rebooted.lake.has_partition("decisions", night(1))
    served = Served(rebooted, tmp_path / "second.log")
    try:
        served.within(lambda: served.states() == ["CRASHED", "COMPLETED"])
        rebooted.deliver(night(1))
        served.begin(night(2))
        served.within(lambda: served.states() == ["CRASHED", "COMPLETED", "COMPLETED"])
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(timeout=PATIENCE)
    finally:
        if served.process.poll() is None:
            served.power_off()
    ended = [(record.command, record.outcome) for record in run_records(rebooted.lake)]
    nightly = [("score-daily", "killed"), ("score-daily", "done"), ("score-daily", "done")]
    assert [end for end in ended if end[0] == "score-daily"] == nightly
    assert [end for end in ended if end[0] == "schedule"] == [("schedule", "killed"), ("schedule", "done")]
    assert "Traceback" not in (tmp_path / "second.log").read_text()
    without_prefect(monkeypatch)
    clean = copied(trained, tmp_path / "clean", explored=0.5).all_is_well([night(1), night(2)])
    assert differing(clean, rebooted, [night(1), night(2)]) == []
