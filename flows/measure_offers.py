"""Flow: what the decisions changed, measured against the control group."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pandas as pd
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.offers import NO_OFFER
from configs.progress import announce
from configs.settings import Settings
from features.materialise.as_of_view import AsOfView, open_as_of
from features.storage.lake import Lake
from features.storage.whole_writes import write_bytes, write_text
from features.training_data.frames import KNOWN_BEFORE, measured_frame
from flows.outcome import Outcome, dated, open_run, writes_alone
from models.judge.kpis import LIFETIME_ASSUMES, LIFETIME_PERIODS, kpis
from models.judge.lift import Lift, SampleRatio, lift_metrics, measure, sample_ratio_mismatch
from models.metrics.metric import Metric
from models.registry.pictures import offers_picture
from serving.decide.assignment import CONTROL, EXPLORE, POLICY
from serving.decide.ledger import effective_files

GROUPS = {POLICY: "treated", CONTROL: "control"}
SPLIT = (POLICY, EXPLORE, CONTROL)  # explorers are drawn from the users of the policy
INTENDED = {"offer_id": "intended_offer_id", "channel": "intended_channel", "stage": "stage"}
MONEY = ("margin", "revenue")


@dataclass(frozen=True)
class Measured:
    """Closed first decisions as `models.judge.lift` reads them, how the split came out, and when there will be more.

    `first_day` is the first day on which somebody was meant to get an offer, None before there was one.
    """

    frame: pd.DataFrame
    ratio: SampleRatio | None
    first_day: date | None


@task(name="closed decisions", cache_policy=NO_CACHE)
def collect_closed(settings: Settings, lake: Lake, as_of: date) -> Measured:
    """Read the ledger before a day and what became of its users."""
    announce(f"outcomes of the decisions before {as_of}")
    files = effective_files(lake, date.min, as_of - timedelta(days=1))
    if not files:
        return Measured(pd.DataFrame(), None, None)
    with open_as_of(settings, lake, as_of) as history:
        ledger = open_ledger(history, files)
        first = first_decisions(ledger)
        frame = measured_frame(history, first)
        began_at = None if first.empty else pd.Timestamp(first["as_of"].min()).tz_convert(settings.time_zone)
        ratio = sample_ratio(ledger, settings)
    return Measured(frame, ratio, None if began_at is None else began_at.date())


def open_ledger(history: AsOfView, files: Sequence[Path]) -> ir.Table:
    """Open what counts of the ledger: users of the policy, by lot or not, and of the control group."""
    rows = history.engine.read_parquet(list(map(str, files)), table_name="ledger", hive_partitioning=False)
    return rows.filter(rows.arm.isin(SPLIT))


def first_decisions(ledger: ir.Table) -> pd.DataFrame:
    """Take each user's first decision that meant an offer for them, so that no money is counted twice.

    Later decisions are left out on purpose. Their windows overlap the first one's, and what is decided by then rests on
    what the first offer did, so that from then on the two groups are not alike any more. Whose first one went by lot
    is left out altogether: it was not the policy's. Chance picks them, so the groups stay alike as far as the lot is
    open to everybody whom the policy means an offer for, and the share that explores is the same on all days.

    Returns
    -------
    One row per user: ``user_id``, ``as_of``, ``group`` and, *intended*, ``offer_id``, ``channel`` and ``stage``.
    """
    meant = ledger.filter(ledger.intended_offer_id != NO_OFFER)
    meant = meant.mutate(nth=ibis.row_number().over(group_by="user_id", order_by="as_of"))
    first = meant.filter(meant.nth == 0, meant.arm.isin(list(GROUPS)))
    rows = first.select("user_id", "as_of", group=first.arm.cases(*GROUPS.items()), **INTENDED)
    return rows.order_by("as_of", "user_id").to_pandas()


def sample_ratio(ledger: ir.Table, settings: Settings) -> SampleRatio | None:
    """Compare the groups with the shares that were meant; None where no control group was.

    Every user counts once, by the first decision that did not bar them: nothing had been given by then that could
    make one group decide more often.
    """
    control, as_usual = settings.scoring.control_share, settings.scoring.business_as_usual_share
    if not 0 < control < 1 - as_usual:
        return None
    arms = ledger.group_by("user_id").aggregate(arm=ledger.arm.argmin(ledger.as_of))
    users = arms.aggregate(users=arms.count(), control=arms.count(where=arms.arm == CONTROL)).to_pandas().iloc[0]
    kept = int(users["control"])
    return sample_ratio_mismatch(int(users["users"]) - kept, kept, control / (1 - as_usual))


@flow(name="measure-offers", flow_run_name=dated("measure-offers"), validate_parameters=False)
@writes_alone
def measure_offers(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    """Compare users of the policy with the control group, by what was meant for them (intention to treat)."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    outcome = measured_until(settings, lake, day)
    create_markdown_artifact(outcome.markdown(), key="measure-offers")
    return outcome


def measured_until(settings: Settings, lake: Lake, day: date) -> Outcome:
    """Measure every decision whose outcome is known on a day, and keep what was found."""
    measured = collect_closed(settings, lake, day)
    metrics, outputs = ratio_metrics(measured.ratio), {}
    lifts: list[Lift] = []
    if len(measured.frame):
        lifts = measure(measured.frame, KNOWN_BEFORE)
        groups = kpis(measured.frame)
        write_measurement(settings, lake, day, measured, lifts, groups)
        metrics = {**lift_metrics(lifts), **groups, **metrics}
        outputs = {"measurement": str(lake.path("measurements", f"day={day}"))}
    return Outcome("measure-offers", day, metrics, outputs, list(notes(settings, day, measured, lifts)))


def ratio_metrics(ratio: SampleRatio | None) -> dict[str, Metric]:
    """Name the test of the split as a metric."""
    return {} if ratio is None else {"offers.srm_p_value": Metric.exact(ratio.p_value, ratio.treated + ratio.control)}


def write_measurement(
    settings: Settings, lake: Lake, as_of: date, measured: Measured, lifts: Sequence[Lift], groups: dict[str, Metric]
) -> None:
    """Keep lifts, figures of the groups and a picture of a day."""
    facts = {
        "as_of": str(as_of),
        "first_day": str(measured.frame["day"].min()),
        "last_day": str(measured.frame["day"].max()),
        "window_days": settings.churn.horizon_days,
        "currency": settings.currency,
        "users": len(measured.frame),
        "sample_ratio": measured.ratio.as_dict() if measured.ratio else None,
        "lifts": [found.as_dict() for found in lifts],
        "kpis": {name: metric.as_dict() for name, metric in groups.items()},
        "lifetime_value_assumes": LIFETIME_ASSUMES.format(periods=LIFETIME_PERIODS),
    }
    with lake.whole_folder("measurements", f"day={as_of}") as folder:
        write_text(folder / "lifts.json", json.dumps(facts, indent=1) + "\n")
        write_bytes(folder / "lifts.png", offers_picture(lifts, settings.currency))


def notes(settings: Settings, as_of: date, measured: Measured, lifts: Sequence[Lift]) -> Iterator[str]:
    """Say what a person should know: the verdict on all offers, whether to trust it, the others; or what is missing."""
    subjects = list(dict.fromkeys(found.subject for found in lifts))
    verdicts = [verdict(subject, [found for found in lifts if found.subject == subject], settings.currency)
                for subject in subjects]  # fmt: skip
    yield from verdicts[:1]
    if not lifts:
        yield nothing_yet(settings, as_of, measured)
    if measured.ratio is not None:
        yield measured.ratio.advice
    elif measured.first_day is not None:
        yield f"scoring.control_share = {settings.scoring.control_share} leaves no group to compare with; give one"
    yield from verdicts[1:]


def nothing_yet(settings: Settings, as_of: date, measured: Measured) -> str:
    """Say why nothing can be measured and from which day on something can."""
    horizon = timedelta(days=settings.churn.horizon_days)
    if measured.first_day is not None:
        return (
            f"no decision before {as_of} is closed yet: the first that meant an offer was made on "
            f"{measured.first_day} and can be measured from {measured.first_day + horizon} on"
        )
    return (
        f"the ledger has no decision before {as_of} that meant an offer for anyone; one made on {as_of} "
        f"(winback score-users) can be measured from {as_of + horizon} on"
    )


def verdict(subject: str, lifts: Sequence[Lift], currency: str) -> str:
    """Put what is known about one subject into a sentence.

    Examples
    --------
    >>> short = Lift("push", "margin", 9, 1, 9, 1, None, None, None, 0, "1 control users, at least 30 are needed")
    >>> verdict("push", [short], "EUR")
    'push: margin: not enough data (1 control users, at least 30 are needed)'
    """
    told: dict[str, list[str]] = {}
    for found in lifts:
        told.setdefault(_told(found, currency), []).append(found.measure)
    return f"{subject}: " + "; ".join(f"{', '.join(measures)}: {text}" for text, measures in told.items())


def _told(found: Lift, currency: str) -> str:
    if found.shortage or found.cuped is None:
        return f"{found.verdict} ({found.shortage})"
    effect, unit = found.cuped.absolute, f" {currency}" if found.measure in MONEY else ""
    amount = f"{effect.value:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]{unit} a user"
    return f"{found.verdict}, {amount}, adjusted p = {found.p_adjusted:.2g}"
