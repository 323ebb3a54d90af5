"""Answers about a data folder, without running anything in it; each function imports only what it needs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from configs.settings import Settings
from features.storage.lake import Lake
from flows.runs.opened_run import open_run, reads_one_publish
from flows.runs.outcome import Outcome
from flows.runs.run_records import recorded
from models.metrics.metric import Metric

if TYPE_CHECKING:
    from serving.lookups.data_status import DataStatus


def rewrite_report(profile: str | None, data_dir: str | None, as_of: date | None, *, is_pdf: bool = False) -> Outcome:
    """Write the report of a day's decisions, as a PDF too if asked; without a day, of the newest.

    Raises
    ------
    InputError
        There is no such day, or no PDF can be written on this machine.
    """
    from models.training_run.training_record import lost_training
    from serving.report_page.at_risk_list import at_risk_path
    from serving.report_page.day_sums import count_anew
    from serving.report_page.report_pdf import printer, write_report_pdf
    from serving.stored_days.day_tables import newest_decided_day

    settings, lake, day = open_run(profile, data_dir, as_of)
    if is_pdf:
        printer()  # what is missing is said before anything is written
    with recorded(lake, "report", as_of), lake.files.lock("winback report"):
        day = as_of or newest_decided_day(lake, day)  # only now: whoever wrote until now may have decided a newer one
        count_anew(settings, lake, day)
        outputs = {"report": str(lake.path("reports", f"{day}.html")), "users at risk": str(at_risk_path(lake, day))}
        if is_pdf:
            outputs["report as PDF"] = str(write_report_pdf(lake, day))
        return Outcome("report", day, {}, outputs, lost_training(lake, day))


@reads_one_publish
def status(profile: str | None, data_dir: str | None, as_of: date | None) -> Outcome:
    """Say what the data folder holds, what ran, who is champion since when, and what looks wrong."""
    from flows.runs.run_status import last_guards, run_lines
    from serving.lookups.data_status import data_status, model_facts, persona_facts, policy_facts
    from serving.stored_days.day_tables import decided_days

    settings, lake, day = open_run(profile, data_dir, as_of)
    day = as_of or max([day, *decided_days(lake)[-1:]])  # the profile's may lie before what was decided since
    folder_status = data_status(lake, day)
    metrics = {f"{table}.days": Metric.exact(len(days), len(days)) for table, days in folder_status.days.items()}
    lines, run_facts = run_lines(settings, lake, day, datetime.now(UTC))
    guarded, findings, guard_notes = last_guards(lake, day)
    facts = {
        "champions": model_facts(folder_status),
        "policy": policy_facts(folder_status),
        "personas": persona_facts(folder_status),
        **run_facts,
        "guards": {"day": guarded, "findings": [asdict(finding) for finding in findings]},
    }
    notes = _status_notes(settings, lake, folder_status, guard_notes)
    return Outcome("status", day, metrics, _status_lines(settings, lake, day, folder_status) | lines, notes, facts)


def _status_lines(settings: Settings, lake: Lake, day: date, folder_status: DataStatus) -> dict[str, str]:
    """Write the lines about data, consent, training and models, by their titles."""
    from features.erasure.retention_periods import retention_line
    from flows.runs.run_status import consent_line, suppression_line
    from serving.decide.promise_ratios import newest_ratios
    from serving.lookups.data_status import champion_lines, persona_line, policy_line

    tables = {table: f"{days[0]} to {days[-1]}" if days else "none" for table, days in folder_status.days.items()}
    training = folder_status.training
    return {
        **tables,
        "profile": settings.profile,
        "retention": retention_line(settings, lake),
        "suppression list": suppression_line(lake),
        "consent": consent_line(settings, lake, day),
        "training": str(training.as_of) if training is not None else "none",
        "promises": newest_ratios(lake, day).words,
        **champion_lines(folder_status),
        **policy_line(folder_status),
        **persona_line(folder_status),
    }


def _status_notes(settings: Settings, lake: Lake, folder_status: DataStatus, guard_notes: Sequence[str]) -> list[str]:
    """List what looks wrong, or what somebody should know."""
    from features.ingestion.delivery_notes import stored_name_notes
    from flows.runs.run_status import early_notes, empty_notes
    from serving.lookups.data_verification import damaged_records, suspicion
    from serving.stored_days.supersessions import newest_supersession

    untrained = folder_status.training.untrained if folder_status.training is not None else ()
    return [
        *empty_notes(lake, folder_status.days),
        *early_notes(settings, lake, datetime.now(UTC)),
        *folder_status.faults,
        *suspicion(lake),
        *(fault.said for fault in damaged_records(lake)),
        *newest_supersession(lake),
        *guard_notes,
        *stored_name_notes(settings, lake),
        *map(str, untrained),
    ]


@reads_one_publish
def explain(
    user_id: str, with_features: bool, profile: str | None, data_dir: str | None, as_of: date | None
) -> tuple[str, dict[str, object]]:
    """Put one user's risk, reasons, decision and options, and all columns if asked, into a page and into facts."""
    from serving.lookups.user_day import read_user_day
    from serving.lookups.user_explanation import explanation_facts, explanation_lines
    from serving.stored_days.day_tables import newest_decided_day
    from serving.wording.rendering import words_of

    settings, lake, day = open_run(profile, data_dir, as_of)
    day, words = as_of or newest_decided_day(lake, day), words_of(settings)
    name = unicodedata.normalize("NFC", user_id.strip())
    user = read_user_day(settings, lake, day, name, with_features=with_features)
    return "\n".join(explanation_lines(user, words, settings, day)), explanation_facts(user, words)


@reads_one_publish
def contact_rules(profile: str | None, data_dir: str | None, as_of: date | None) -> tuple[str, dict[str, object]]:
    """List the rules of contact with their settings, and whom each held back on a day."""
    from serving.lookups.rule_answers import rule_facts, rule_lines
    from serving.stored_days.day_tables import decided_days, newest_decided_day
    from serving.stored_days.stored_rules import RuleCount, count_free, count_users, counted_rules
    from serving.wording.rendering import words_of

    settings, lake, day = open_run(profile, data_dir, as_of)
    words, is_decided = words_of(settings), as_of is not None or any(each <= day for each in decided_days(lake))
    day = as_of or (newest_decided_day(lake, day) if is_decided else day)
    rules = counted_rules(lake, day) if is_decided else []
    users = count_users(lake, day) if rules else 0
    if not rules:
        from configs.offers import load_catalogue
        from serving.contact_rules.rule_list import rules_of

        listed = rules_of(settings, load_catalogue(settings.offers))
        rules = [RuleCount.of(place, each) for place, each in enumerate(listed)]
    free = count_free(lake, day) if users else None
    page = "\n".join(rule_lines(rules, settings, words, day if users else None, users, free))
    facts = {"command": "rules", "as_of": day, "users": users, "rules": rule_facts(rules, settings, words)}
    return page, facts | ({"held_back_by_none": free._asdict()} if free else {})


@reads_one_publish
def segments(
    user_id: str | None, check: bool, profile: str | None, data_dir: str | None, as_of: date | None
) -> tuple[str, dict[str, object]]:
    """Say how many are in each stage and segment of a day, or what one user is in; `check` only reads the rules."""
    from serving.lookups import segment_answers as answers
    from serving.memberships.stored_segments import SIZES, TRANSITIONS, newest_segment_day, read_rows, read_rules
    from serving.wording.rendering import words_of

    settings, lake, day = open_run(profile, data_dir, as_of)
    if check:
        from serving.memberships.segment_day import load_rules

        rules = load_rules(settings, lake)
        return "\n".join(answers.checked_lines(rules)), answers.checked_facts(rules)
    day = as_of or newest_segment_day(lake, day)
    if user_id is not None:
        from serving.memberships.onboarding_progress import user_progress
        from serving.memberships.user_memberships import known_memberships

        user_id = unicodedata.normalize("NFC", user_id.strip())
        found, progress = known_memberships(settings, lake, day, user_id), user_progress(settings, lake, day, user_id)
        page = answers.user_lines(user_id, found, words_of(settings), progress)
        return "\n".join(page), answers.user_facts(user_id, found, progress)
    rows = {table: read_rows(lake, day, table) for table in (SIZES, TRANSITIONS)}
    page = answers.size_lines(day, read_rules(lake, day), rows[SIZES], rows[TRANSITIONS], words_of(settings), settings)
    return "\n".join(page), {"command": "segments", "as_of": str(day), **answers.plain(rows)}


@reads_one_publish
def plays(
    examples: bool, profile: str | None, data_dir: str | None, as_of: date | None
) -> tuple[str, dict[str, object]]:
    """Say of each play of the catalogue whom it is meant for on a day, and perhaps tell an example."""
    from serving.lookups.play_answers import newest_snapshot_day, play_lines, play_rows
    from serving.wording.rendering import words_of

    settings, lake, day = open_run(profile, data_dir, as_of)
    day = as_of or newest_snapshot_day(lake, day)
    rows = play_rows(settings, lake, day, examples=examples)
    page = "\n".join(play_lines(rows, day, words_of(settings)))
    return page, {"command": "plays", "as_of": day, "plays": [asdict(row) for row in rows]}


@reads_one_publish
def messages(
    check: bool, profile: str | None, data_dir: str | None, as_of: date | None
) -> tuple[str, dict[str, object], bool]:
    """Say how often each text is used on a day, or whether all can be written; the last says whether they can."""
    from serving.lookups import message_answers as answers
    from serving.stored_days.day_tables import newest_decided_day
    from serving.wording.rendering import words_of

    settings, lake, day = open_run(profile, data_dir, as_of)
    if check:
        found = answers.check_texts(settings, lake)
        return "\n".join(answers.check_lines(found)), answers.facts_of(found), not found.faults
    day = as_of or newest_decided_day(lake, day)
    uses = answers.text_uses(settings, lake, day)
    facts = {"as_of": str(day), "texts": [asdict(each) for each in uses]}
    return "\n".join(answers.use_lines(day, uses, words_of(settings))), {"command": "messages", **facts}, True


@reads_one_publish
def audit(profile: str | None, data_dir: str | None, as_of: date | None) -> tuple[str, dict[str, object]]:
    """Compare what a day's decisions gave across groups that models know nothing of."""
    from serving.fairness.fairness_audit import audit_lines, audit_rows
    from serving.fairness.left_out_groups import left_out_lines, traits_absent, users_left_out
    from serving.stored_days.day_tables import newest_decided_day
    from serving.wording.rendering import words_of

    settings, lake, day = open_run(profile, data_dir, as_of)
    day = as_of or newest_decided_day(lake, day)
    rows = audit_rows(lake, day)
    left_out, absent = users_left_out(rows), traits_absent(settings, rows)
    words = words_of(settings)
    page = "\n".join([*audit_lines(rows, day, words), *left_out_lines(left_out, absent, settings, words)])
    facts = {"command": "audit", "as_of": str(day), "groups": rows}
    return page, {**facts, "users_left_out": left_out, "not_compared": absent}


@reads_one_publish
def experiments(profile: str | None, data_dir: str | None, as_of: date | None) -> tuple[str, dict[str, object]]:
    """Say of each experiment inside a play which variant is better, or how many users it still takes."""
    from flows.runs.environment import hush
    from models.judge.experiment_verdict import result_facts
    from serving.cubes.experiment_words import english, experiment_lines, verdict_words
    from serving.offer_measurement.closed_variants import experiment_results
    from serving.stored_days.day_tables import decided_days

    hush()
    settings, lake, day = open_run(profile, data_dir, as_of)
    day = as_of or max([day, *decided_days(lake)[-1:]])
    results = experiment_results(settings, lake, day)
    page = "\n".join(experiment_lines(results, day, settings.churn.horizon_days, settings.currency))
    facts = [{**result_facts(each), "verdict": verdict_words(each, english(settings.currency))} for each in results]
    return page, {"command": "experiments", "as_of": day, "currency": settings.currency, "experiments": facts}


@reads_one_publish
def plan_experiment(
    profile: str | None, data_dir: str | None, as_of: date | None, offer: str | None, power: float, weeks: int
) -> tuple[str, dict[str, object]]:
    """Plan what to try of every offer, or of one, to learn which of its levels pay."""
    from configs.offers import load_catalogue
    from flows.runs.environment import hush
    from serving.offer_measurement.experiment_audience import audience_of, costs_a_head
    from serving.offer_measurement.experiment_plan import plan_experiment as plan_offer
    from serving.offer_measurement.plan_lines import plan_lines
    from serving.stored_days.day_tables import newest_decided_day
    from serving.wording.rendering import words_of

    hush()
    settings, lake, day = open_run(profile, data_dir, as_of)
    day, catalogue = as_of or newest_decided_day(lake, day), load_catalogue(settings.offers)
    audience, costs = audience_of(settings, lake, day), costs_a_head(lake, day)
    offers = catalogue.offers if offer is None else (catalogue[offer],)
    plans = [
        plan_offer(
            each,
            costs[each.offer_id],
            audience,
            settings,
            power=power,
            most_weeks=weeks,
            options=len(catalogue.options),
        )
        for each in offers
        if set(each.shares) <= set(costs.get(each.offer_id, {}))
    ]
    left_out = [each.offer_id for each in offers if each.offer_id not in {plan.offer_id for plan in plans}]
    page = "\n".join(plan_lines(plans, audience, words_of(settings), power=power, left_out=left_out))
    facts = {"command": "plan-experiment", "as_of": day, "currency": settings.currency, "power": power}
    return page, {
        **facts,
        "audience": asdict(audience),
        "plans": [asdict(plan) for plan in plans],
        "left_out": left_out,
    }
