"""The report of a day: one self-contained HTML page for marketers."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.offers import Catalogue, load_catalogue
from configs.settings import Roles, Settings
from features.ingestion.contract import AUDIT_ONLY
from features.storage.lake import Lake
from features.tables.duckdb_sessions import shared_reading, sql_text
from features.tables.parquet_files import count_rows
from models.policy_value.policy_verdict import NOBODY
from models.registry.registry_state import Pin, registered_models
from models.training_run.training_record import EFFECTS, ModelRecord, TrainingRecord, latest_training, picture_of
from serving.cubes.experiment_words import experiment_sentences
from serving.decide.discount_evidence import why_discounts
from serving.fairness.fairness_audit import audit_rows, audit_sentences, named
from serving.fairness.left_out_groups import left_out_lines, traits_absent, users_left_out
from serving.guards.guard_findings import guard_words, stored_findings
from serving.memberships.onboarding_progress import step_counts
from serving.report_page.at_risk_list import write_at_risk
from serving.report_page.budget_curve import curve_of
from serving.report_page.group_section import groups_of
from serving.report_page.model_trust import SUBJECTS, trust_in_offers, verdicts
from serving.report_page.page_environment import page_environment
from serving.report_page.plan_gain import plan_gain
from serving.report_page.policy_gate import PolicyGate, gate_of
from serving.report_page.preference_section import preferences_of
from serving.report_page.promised_gains import promised_summary
from serving.report_page.summary import Summary, examples
from serving.report_page.unknown_consents import consent_notes, unknown_consents
from serving.report_page.win_back_sentences import win_back_sentences
from serving.stored_days.day_tables import connect
from serving.stored_days.stored_day import full_limits
from serving.stored_days.supersessions import supersessions
from serving.wording.explanations import fact_of
from serving.wording.rendering import Words, stored, words_of

TEMPLATE = "report.html.j2"
TOP_DRIVERS = 8
TRUSTED_ECE = 0.03


@dataclass(frozen=True)
class JudgedTraining:
    """The training that a page judges the models by, with its pictures."""

    lake: Lake
    record: TrainingRecord

    @property
    def as_of(self) -> date:
        """Day of the training."""
        return self.record.as_of

    @property
    def models(self) -> dict[str, ModelRecord]:
        """Its models, by subject."""
        return self.record.models

    def picture(self, name: str) -> str | None:
        """Embed a picture as a data URI; None when there is no such picture."""
        png = picture_of(self.lake, self.record, name)
        return None if png is None else embedded(png)

    def absent(self, versions: list[str]) -> list[str]:
        """Champions of this training that did not make the decisions."""
        used = {name for names in versions for name in names.split(", ")}
        return [model.champion for model in self.models.values() if model.champion not in used]


def write_report(settings: Settings, lake: Lake, as_of: date) -> Path:
    """Write what a marketer needs to know about a day to ``reports/<as_of>.html``, with the list of users at risk.

    The page needs no network and no script. The same decisions, training and settings give the same
    bytes.

    Raises
    ------
    InputError
        The day has no decisions, or a training's file is damaged.
    """
    path = lake.path("reports", f"{as_of}.html")
    with shared_reading(lake):
        page = render_report(settings, lake, as_of).encode()
    with lake.files.publish() as publication:
        publication.write(f"reports/{as_of}.html", page)
        publication.remove(f"reports/{as_of}.pdf")  # of the report before, which may name who was forgotten since
    write_at_risk(settings, lake, as_of, words_of(settings))
    return path


def render_report(settings: Settings, lake: Lake, as_of: date) -> str:
    """Fill the page in."""
    record = latest_training(lake, as_of)
    training = JudgedTraining(lake, record) if record else None
    catalogue = load_catalogue(settings.offers)
    promised = promised_summary(lake, as_of)
    summary = promised.summary
    words, page_words = words_of(settings), words_of(settings, is_print=True)
    trusts = trust_in_offers(record, catalogue, words)
    gate, curve = gate_of(record.verdict if record else None, words), curve_of(lake, as_of, settings)
    guards = stored_findings(lake, as_of)
    event_days = [day for day in lake.days("events") if day < as_of]
    given = [_titled(row, words) for row in summary.offers.to_dict("records")]
    audit = audit_rows(lake, as_of)
    page = page_environment([Path(__file__).parent], settings, page_words).get_template(TEMPLATE)
    return page.render(
        trusted_ece=TRUSTED_ECE,
        settings=settings,
        as_of=as_of,
        summary=summary,
        promised=promised,
        drivers=by_fact(summary.drivers, settings.roles).head(TOP_DRIVERS).replace(np.nan, None).to_dict("records"),
        given=given,
        is_bet=gate.name == NOBODY
        if gate
        else not {row["title"] for row in given} <= {trust.title for trust in trusts if trust.is_proven},
        no_offer_reasons=no_offer_reasons(summary),
        discount_words=page_words.sentence(stored(why_discounts(lake, as_of, catalogue, gate.name if gate else None))),
        gain=plan_gain(lake, as_of, record.effects) if record else None,
        gate=gate,
        curve=curve,
        curve_chart=curve.chart(page_words) if curve else None,
        full=full_limits(lake, as_of),
        examples=[_titled(row, words) for row in examples(lake, as_of).to_dict("records")],
        training=training,
        verdicts=verdicts(record, words) if record else {},
        lacks={name: record.lack_of(name) if record else None for name in (*SUBJECTS, EFFECTS)},
        trusts=trusts,
        superseded=supersessions(lake, as_of)[-1:],
        consent_notes=consent_notes(settings, unknown_consents(lake, as_of, catalogue), words),
        why_no_offers=why_no_offers(summary, record, gate, catalogue, words),
        event_days=event_days,
        newest_events=count_rows(lake.partition("events", event_days[-1])) if event_days else 0,
        quarantine=quarantined(lake),
        pins=pins_behind(lake, summary),
        who=groups_of(settings, lake, as_of, page_words, record.personas if record else None),
        steps=step_counts(settings, lake, as_of),
        liked=preferences_of(lake, as_of, summary.users, record.tastes if record else {}),
        weekdays=words.language.formats.weekdays,
        audit=[{**row, **dict(zip(("title", "group"), named(row, words), strict=True))} for row in audit],
        audit_sentences=list(audit_sentences(audit, page_words)),
        audit_left_out=list(
            left_out_lines(users_left_out(audit), traits_absent(settings, audit), settings, page_words)
        ),
        unprotected=sorted({*AUDIT_ONLY} - {*settings.features.protected}),
        guards=guards,
        win_back=win_back_sentences(settings, lake, as_of, words),
        experiments=experiment_sentences(lake, as_of, page_words),
        guard_words=guard_words(guards, as_of, page_words.say, page_words.language.weekday),
    )


def why_no_offers(
    summary: Summary, training: TrainingRecord | None, gate: PolicyGate | None, catalogue: Catalogue, words: Words
) -> str | None:
    """Say why nobody gets an offer; None when somebody does."""
    if summary.with_offer:
        return None
    if not catalogue.offers:
        return words.say("This app has no offers in its catalogue, so there is nothing to give.")
    lack = training.lack_of(EFFECTS) if training is not None else None
    if training is None or lack is not None:
        why = lack.reason if lack is not None else words.say("no training is on record; run winback train-models")
        return words.say("What offers change is not known: {why}.", why=why)
    if gate is not None and gate.name == NOBODY:
        return words.say("{why} The table below counts the reasons.", why=gate.why)
    return words.say("No offer is expected to bring more than it costs for anyone; the table below counts the reasons.")


def by_fact(drivers: pd.DataFrame, roles: Roles) -> pd.DataFrame:
    """Add up the drivers of one fact, which no user has twice; the column that most users have stands for it."""
    facts = drivers["column"].map(lambda column: fact_of(column, roles))
    sums = drivers.groupby(facts, sort=False)[["users", "strongest"]].sum()
    firsts = drivers[~facts.duplicated()]  # they come most users first
    firsts = firsts.assign(users=sums["users"].to_numpy(), strongest=sums["strongest"].to_numpy())
    return firsts.sort_values(["users", "strongest"], ascending=False, kind="stable")


def no_offer_reasons(summary: Summary) -> list[dict[Any, Any]]:
    """List why users get nothing, in the order in which it is asked: ``arm, why, users``, and who is ``left`` after."""
    left = summary.users - summary.nothing["users"].cumsum()
    return summary.nothing.assign(left=left).to_dict("records")


def pins_behind(lake: Lake, summary: Summary) -> dict[str, Pin]:
    """Find the models behind a day's decisions that a person has pinned since or before, by subject."""
    used = {name for names in summary.model_versions for name in names.split(", ")}
    pinned = {model.subject: (model.pin, model.versions) for model in registered_models(lake) if model.pin is not None}
    return {
        subject: pin
        for subject, (pin, versions) in pinned.items()
        if pin.version in versions and versions[pin.version].name in used
    }


def embedded(picture: bytes) -> str:
    """Write a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def quarantined(lake: Lake) -> list[dict[str, Any]]:
    """Count the input rows that were refused: ``source, table, reason, rows``, most first."""
    names = lake.files.list("quarantine/*/*.parquet")
    lake.files.check(*names)
    files = [lake.path(name) for name in names]
    with connect(lake) as connection:
        counts = [
            {"source": path.parent.name, "table": path.stem, "reason": reason, "rows": rows}
            for path in files
            for reason, rows in connection.execute(
                f"SELECT reason, count(*) FROM read_parquet({sql_text(path)}) GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        ]
    return sorted(counts, key=lambda count: -count["rows"])


def _titled(row: dict[Any, Any], words: Words) -> dict[Any, Any]:
    return {**row, "title": words.titles.get(row["offer_id"], row["offer_id"])}
