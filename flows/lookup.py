"""What people ask of a data folder without running anything in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pandas as pd
from pydantic import BaseModel

from configs.errors import InputError
from configs.settings import Settings
from features.definitions.registry import Feature
from features.definitions.snapshot_features import catalogue
from features.materialise.as_of_view import open_as_of
from features.storage.lake import Lake
from flows.outcome import Outcome, open_run
from models.metrics.evaluation import Metric
from models.registry.tracking import promotion_log, rollback
from serving.report_page.report import write_report
from serving.report_page.summary import decided_days, decision_of, options_of

SUBJECTS = ("churn", "value", "redemption")


def rewrite_report(profile: str | None, data_dir: str | None, as_of: date | None) -> Outcome:
    """Write the report of a day's decisions; without a day, of the newest."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    day = as_of or newest_decisions(lake, day)
    return Outcome("report", day, {}, {"report": str(write_report(settings, lake, day))})


def status(profile: str | None, data_dir: str | None, as_of: date | None) -> Outcome:
    """Say what the data folder holds and who is champion since when."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    metrics, outputs = {}, {}
    for table in ("events", "treatments", "aggregates", "snapshots", "decisions"):
        days = lake.days(table)
        metrics[f"{table}.days"] = Metric.exact(len(days), len(days))
        outputs[table] = f"{days[0]} to {days[-1]}" if days else "none"
    outputs["profile"] = settings.profile
    for entry in promotion_log(lake):
        outputs[f"champion {entry.subject} since {entry.since}"] = (
            f"{entry.name} (version {entry.version}): {entry.reason}"
        )
    return Outcome("status", day, metrics, outputs)


def explain(
    user_id: str, profile: str | None, data_dir: str | None, as_of: date | None
) -> tuple[str, dict[str, object]]:
    """Put one user's risk, reasons, decision and options into a page and into facts."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    day = as_of or newest_decisions(lake, day)
    decision = decision_of(lake, day, user_id)
    options = options_of(lake, day, user_id)
    facts: dict[str, object] = {"decision": decision.to_dict(), "options": options.to_dict("records")}
    return "\n".join(_explanation(decision, options, settings, day)), facts


def _explanation(decision: pd.Series, options: pd.DataFrame, settings: Settings, day: date) -> Iterator[str]:
    yield f"user {decision.user_id} on {day}"
    if pd.isna(decision.p_churn):
        yield f"  risk      unknown: {decision.why}"
    else:
        horizon = settings.churn.horizon_days
        yield f"  risk      {decision.p_churn:.1%} to leave within {horizon} days ({decision.risk_band})"
        yield f"  worth     {decision.remaining_value:,.2f} {settings.currency} of margin if they stay"
        because = enumerate(decision.reasons.split("; "))
        yield from (f"  {'' if place else 'because':<9} {reason}" for place, reason in because)
    given = f"{decision.offer_id} at {decision.discount:.0%} by {decision.channel}"
    yield f"  decision  {'nothing' if decision.offer_id == 'none' else given}"
    yield f"  why       {decision.why}"
    if decision.offer_id != "none":
        yield f"  message   {decision.message}"
        yield f"  evidence  {decision.evidence}"
    if len(options):
        yield f"  options   value in {settings.currency}, best first"
        yield from (_option_line(option) for option in options.itertuples())


def _option_line(option: object) -> str:
    offer, discount, value, p_redeem, why_not = (
        getattr(option, name) for name in ("offer_id", "discount", "value", "p_redeem", "why_not")
    )
    return f"    {offer:<12} {discount:>4.0%}  value {value:+7.2f}  P(redeem) {p_redeem:5.1%}  {why_not or ''}".rstrip()


def feature_catalogue(profile: str | None, data_dir: str | None) -> tuple[str, list[dict[str, str]]]:
    """List the columns of a snapshot; traits appear once users were ingested."""
    settings, lake, day = open_run(profile, data_dir, None)
    try:
        with open_as_of(settings, lake, day) as history:
            features = history.features
    except InputError:
        features = catalogue()
    width = max(len(feature.name) for feature in features)
    lines = [f"{'column':<{width}}  {'window':<15} {'role':<16} {'view':<10} meaning"]
    lines += [f"{f.name:<{width}}  {f.window:<15} {f.role:<16} {f.view:<10} {f.meaning}" for f in features]
    return "\n".join(lines), [_feature_row(feature) for feature in features]


def _feature_row(feature: Feature) -> dict[str, str]:
    return {name: getattr(feature, name) for name in ("name", "meaning", "window", "role", "view")}


def describe_settings(profile: str | None, data_dir: str | None) -> tuple[str, dict[str, object]]:
    """List every setting with its value and meaning."""
    settings, _, _ = open_run(profile, data_dir, None)
    return "\n".join(_setting_lines(settings, "")), settings.model_dump(mode="json")


def _setting_lines(section: BaseModel, prefix: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _setting_lines(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(value) if isinstance(value, tuple) else value
            yield f"{prefix}{name} = {shown}\n    {field.description}"


def roll_back(subject: str, reason: str, profile: str | None, data_dir: str | None) -> tuple[str, dict[str, object]]:
    """Return to the champion before the present one."""
    _, lake, _ = open_run(profile, data_dir, None)
    if subject not in SUBJECTS:
        raise InputError(f"{subject!r} is no model; known are: {', '.join(SUBJECTS)}")
    entry = rollback(lake, subject, reason)
    return f"{entry.name} (version {entry.version}) is champion of {subject} again: {reason}", vars(entry)


def newest_decisions(lake: Lake, day: date) -> date:
    """Newest day on or before `day` with decisions.

    Raises
    ------
    InputError
        There is none.
    """
    days = [past for past in decided_days(lake) if past <= day]
    if not days:
        raise InputError(f"{lake.root} holds no decisions up to {day}; run winback score-users first")
    return days[-1]
