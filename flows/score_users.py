"""Flow: risk, options and decisions of all users for a day, and the report."""

from __future__ import annotations

from datetime import date

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.offers import load_catalogue
from configs.settings import Settings
from features.storage.lake import Lake
from features.training_data.scoring_frames import count_users
from flows.runs.opened_run import dated, open_run, writes_alone
from flows.runs.outcome import Outcome
from flows.runs.run_steps import step
from models.training_run.training_record import latest_training, lost_training
from serving.arms.assignment import Spending
from serving.cubes.day_cubes import write_cubes
from serving.decide.decided_day import decide_day
from serving.fairness.fairness_audit import audit_notes, write_audit
from serving.guards.guard_findings import guard_words, stored_findings
from serving.memberships.part_words import unusual_notes
from serving.memberships.segment_day import load_rules, write_segments
from serving.report_page.at_risk_list import at_risk_path
from serving.report_page.day_figures import SHOWN, day_metrics, day_notes
from serving.report_page.report import write_report
from serving.report_page.summary import summarise
from serving.report_page.unknown_consents import consent_notes, unknown_consents
from serving.report_page.win_back_sentences import win_back_sentences
from serving.stored_days.day_tables import day_folder
from serving.stored_days.decided_before import require_in_order
from serving.stored_days.supersessions import check_reason, supersessions
from serving.wording.half_languages import language_notes
from serving.wording.rendering import english_words_of


@task(name="decisions", cache_policy=NO_CACHE)
def decide_for_all(settings: Settings, lake: Lake, as_of: date, supersede: str | None = None) -> Spending:
    """Predict, value and decide, in batches of users."""
    with step("decisions", f"decisions for everybody as of {as_of}") as taken:
        spending = decide_day(settings, lake, as_of, supersede)
        taken.rows = count_users(lake, as_of)
    return spending


@flow(name="score-users", flow_run_name=dated("score-users"), validate_parameters=False)
@writes_alone
def score_users(
    profile: str | None = None,
    data_dir: str | None = None,
    as_of: date | None = None,
    supersede: str | None = None,
    in_hindsight: bool = False,
) -> Outcome:
    """Give every user a decision under the budget and write the report.

    A day that was decided otherwise before stays as it is, unless `supersede` says why the new decisions count. One
    without decisions that lies before a decided one is decided `in_hindsight` only, as what that one gave counts not.
    """
    settings, lake, day = open_run(profile, data_dir, as_of)
    check_reason(supersede)
    if not in_hindsight:
        require_in_order(lake, settings, load_catalogue(settings.offers), day)
    rules = load_rules(settings, lake)  # what is wrong with them is said before anything is written
    spending = decide_for_all(settings, lake, day, supersede)
    summary = summarise(lake, day)
    with step("segments", "stages and segments") as taken:
        write_segments(settings, lake, day, rules)
        taken.rows = summary.users
    write_audit(settings, lake, day)
    with step("cubes", "cubes of the desk") as taken:
        write_cubes(settings, lake, day)
        taken.rows = summary.users
    with step("report", "report") as taken:
        report = write_report(settings, lake, day)
        taken.rows = summary.users
    folder = day_folder(lake, day)
    outputs = {
        "report": str(report),
        "users at risk": str(at_risk_path(lake, day)),
        "decisions": str(folder / "decisions.parquet"),
    }
    outputs |= {"budget curve": str(folder / "budget_curve.parquet"), "segments": str(lake.partition("segments", day))}
    metrics = day_metrics(lake, day, summary, spending)
    notes = guard_words(stored_findings(lake, day), day)
    notes += [*unusual_notes(settings, lake, day), *audit_notes(settings, lake, day)]
    notes += day_notes(settings, summary, spending, latest_training(lake, day))
    notes += map(str, supersessions(lake, day)[-1:])
    notes += language_notes(settings)
    words = english_words_of(settings)
    notes += consent_notes(settings, unknown_consents(lake, day, load_catalogue(settings.offers)), words)
    notes += win_back_sentences(settings, lake, day, words)
    notes += lost_training(lake, day)
    outcome = Outcome("score-users", day, metrics, outputs, notes, groups=SHOWN)
    create_markdown_artifact(outcome.markdown(), key="score-users")
    return outcome
