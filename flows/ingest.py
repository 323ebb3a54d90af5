"""Flow: from raw files to contract tables."""

from __future__ import annotations

from datetime import UTC, date, datetime

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import InputError
from configs.settings import Settings
from features.ingestion.ingest_source import TableIngest, ingest_source
from features.ingestion.table_rows import DayRange
from features.ingestion.treated_offers import write_treated_offers
from features.storage.lake import Lake
from flows.runs.kept_profile import remember_profile
from flows.runs.opened_run import dated, open_run, writes_alone
from flows.runs.outcome import Outcome
from flows.runs.run_steps import step
from models.metrics.metric import Metric
from serving.messages.checked_texts import require_texts


def is_worth_retrying(_task: object, _run: object, state: object) -> bool:
    """Tell a passing fault from bad input, which stays bad."""
    try:
        state.result()  # type: ignore[attr-defined]
    except InputError:
        return False
    except Exception:
        return True
    return False


@task(name="read source", retries=2, retry_delay_seconds=5, retry_condition_fn=is_worth_retrying, cache_policy=NO_CACHE)
def read_source(settings: Settings, lake: Lake, replacing: DayRange | None = None) -> list[TableIngest]:
    """Read the raw files; the disk or database behind them can fail for a moment."""
    with step("read source", f"reading {settings.ingest.source}") as taken:
        tables = ingest_source(settings, lake, datetime.now(UTC), replacing)
        write_treated_offers(settings, lake)
        taken.rows = sum(table.read for table in tables)
    return tables


@flow(name="ingest", flow_run_name=dated("ingest"), validate_parameters=False)
@writes_alone
def ingest(
    profile: str | None = None,
    data_dir: str | None = None,
    as_of: date | None = None,
    source: str | None = None,
    raw: str | None = None,
    replace: bool = False,
    first: date | None = None,
    last: date | None = None,
) -> Outcome:
    """Bring a source into the data folder; twice changes nothing.

    `source` and `raw` override ``ingest.source`` and ``ingest.raw`` of the settings; `replace` writes the days from
    `first` to `last` anew from the source.
    """
    replacing = replaced_days(replace, first, last)
    settings, lake, day = open_run(profile, data_dir, as_of, is_rewritten=replace)
    given = {name: value for name, value in (("source", source), ("raw", raw)) if value is not None}
    settings = settings.model_copy(update={"ingest": settings.ingest.model_copy(update=given), "as_of": day})
    require_texts(settings, lake)  # what is wrong with them is said before anything is written
    tables = read_source(settings, lake, replacing)
    remember_profile(lake, profile)
    counts = ["read", "added", "unchanged", "duplicates", "quarantined", *(["replaced"] if replacing else [])]
    metrics = {f"{t.table}.{name}": Metric.exact(getattr(t, name), t.read) for t in tables for name in counts}
    left_out = {table.table: Metric.exact(sum(table.left_out.values()), table.read) for table in tables}
    metrics |= {
        f"{name}.left_out": metric for name, metric in left_out.items() if any(m.value for m in left_out.values())
    }
    warnings = [sentence for table in tables for sentence in table.sentences]
    if replacing:
        warnings.append("what rests on the replaced days is computed anew by the next winback build-features")
    outputs = {t.table: str(lake.path(t.table)) for t in tables} | {"quarantine": str(lake.path("quarantine"))}
    outcome = Outcome("ingest", day, metrics, outputs, warnings)
    create_markdown_artifact(outcome.markdown(), key="ingest")
    return outcome


def replaced_days(replace: bool, first: date | None, last: date | None) -> DayRange | None:
    """Read which days are to be written anew, all without a word about them; None means none.

    Raises
    ------
    InputError
        Days are named without `replace`, or the last lies before the first.
    """
    if not replace:
        if first or last:
            raise InputError("--from and --to name the days that --replace writes anew; add --replace")
        return None
    days = DayRange(first or date.min, last or date.max)
    if days.last < days.first:
        raise InputError(f"--to {last} lies before --from {first}; swap them")
    return days
