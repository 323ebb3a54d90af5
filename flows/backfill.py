"""Flow: missed days are made up for: always their features, and on request their decisions."""

from __future__ import annotations

from datetime import date, timedelta

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import InputError
from configs.progress import announce
from configs.settings import Settings
from features.materialise.build_daily import build_aggregates
from features.storage.lake import Lake
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from flows.runs.opened_run import open_run, writes_alone
from flows.runs.outcome import Outcome
from flows.score_users import score_users
from models.metrics.metric import Metric
from serving.stored_days.day_tables import decided_days

MOST_CAUGHT_UP = 31  # days that a daily run makes up for by itself


@task(name="features of a day", cache_policy=NO_CACHE)
def take_snapshot(settings: Settings, lake: Lake, day: date) -> bool:
    """Bring the snapshot that scoring reads on a day up to date; say whether it was computed."""
    return bool(bring_snapshots_up_to_date(settings, lake, day, only_today=True).built)


@flow(name="backfill", flow_run_name="backfill {first} to {last}", validate_parameters=False)
@writes_alone
def backfill(
    profile: str | None = None,
    data_dir: str | None = None,
    first: date | None = None,
    last: date | None = None,
    decisions: bool = False,
) -> Outcome:
    """Compute the features of every day from `first` to `last`, and with `decisions` decide the undecided ones.

    A day that was decided keeps its decisions: what was handed over is a fact. One that lies before a decided day is
    decided as it would have been, without what came after it, so that nobody is to be sent its messages: that is told.
    """
    settings, lake, until = open_run(profile, data_dir, last)
    days = backfilled_days(first, until)
    build_aggregates(settings, lake)
    decided = decided_days(lake)
    undecided = sorted(set(days) - set(decided)) if decisions else []
    built, notes = 0, list[str]()
    for number, day in enumerate(days, 1):
        announce(f"{day}, day {number} of {len(days)}")
        built += take_snapshot(settings, lake, day)
        if day in undecided:
            scored = score_users(profile, str(lake.root), day, in_hindsight=True)
            notes += [f"{day}: {note}" for note in scored.warnings]
            build_aggregates(settings, lake)  # the features of the next day know what was given on this one
    metrics = {
        "snapshots.computed": Metric.exact(built, len(days)),
        "decisions.days_decided": Metric.exact(len(undecided), len(days)),
    }
    outputs = {"snapshots": str(lake.path("snapshots")), "decisions": str(lake.path("decisions"))}
    outcome = Outcome("backfill", days[-1], metrics, outputs, [
        *notes, *_in_hindsight(undecided, decided), *_left_alone(lake, days, undecided, decisions)
    ])  # fmt: skip
    create_markdown_artifact(outcome.markdown(), key="backfill")
    return outcome


def backfilled_days(first: date | None, last: date) -> list[date]:
    """List the days from `first` to `last`.

    Raises
    ------
    InputError
        There is no first day, or it lies after the last.
    """
    if first is None:
        raise InputError("backfill needs to know from which day on; add --from YYYY-MM-DD")
    if last < first:
        raise InputError(f"the last day, {last}, lies before the first, {first}; swap --from and --to")
    return [first + timedelta(days=day) for day in range((last - first).days + 1)]


def _left_alone(lake: Lake, days: list[date], undecided: list[date], is_asked: bool) -> list[str]:
    kept = sorted(set(days) & set(decided_days(lake)) - set(undecided))
    if is_asked:
        return [f"{len(kept)} of the days had decisions, which stay as they are"] if kept else []
    missing = sorted(set(days) - set(kept))
    return [f"{_listed(missing)} have no decisions; --decisions makes them"] if missing else []


def _in_hindsight(undecided: list[date], decided: list[date]) -> list[str]:
    """Say which days were decided after a later one.

    Examples
    --------
    >>> _in_hindsight([date(2024, 1, 5), date(2024, 1, 7)], [date(2024, 1, 6)])
    ['2024-01-05: decided after later days, what those gave does not count for it; send none of its messages']
    """
    late = [day for day in undecided if decided and day < decided[-1]]
    said = "decided after later days, what those gave does not count for it; send none of its messages"
    return [f"{_listed(late)}: {said}"] if late else []


def catch_up(profile: str | None, data_dir: str | None, as_of: date | None) -> list[str]:
    """Compute the features of the days that the daily run missed since the newest decided one, and tell of them."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    missed = missed_days(settings, lake, day)
    if not missed:
        return []
    told = f"no decisions were made for {_listed(missed)}; winback backfill --decisions makes them"
    announce(told)
    build_aggregates(settings, lake)
    for each in missed[-MOST_CAUGHT_UP:]:
        take_snapshot(settings, lake, each)
    return [told]


def missed_days(settings: Settings, lake: Lake, today: date) -> list[date]:
    """List the days without decisions between the newest decided day and today; none where scoring is not daily."""
    decided = [day for day in decided_days(lake) if day < today]
    if not decided or settings.schedule.score_cron.split()[2:] != ["*"] * 3:
        return []
    return [decided[-1] + timedelta(days=day) for day in range(1, (today - decided[-1]).days)]


def _listed(days: list[date]) -> str:
    """Name days: one, or the first and the last.

    Examples
    --------
    >>> _listed([date(2024, 1, 5)]), _listed([date(2024, 1, 5), date(2024, 1, 6)])
    ('2024-01-05', '2 days (2024-01-05 to 2024-01-06)')
    """
    return str(days[0]) if len(days) == 1 else f"{len(days)} days ({days[0]} to {days[-1]})"
