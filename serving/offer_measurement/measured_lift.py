"""The measurement of past decisions: computed, stored, and put into sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from configs.counted import counted
from configs.settings import Settings
from features.storage.lake import Lake
from features.storage.whole_writes import write_bytes, write_text
from features.training_data.frames import KNOWN_BEFORE
from models.measurement.kpis import LIFETIME_ASSUMES, LIFETIME_PERIODS, kpis
from models.measurement.lift import Lift, SampleRatio, lift_metrics, measure
from models.measurement.promise_ratio import ALL, PromiseRatio
from models.metrics.metric import Metric
from models.model_cards.pictures import offers_picture
from serving.cubes.experiment_words import english, verdict_words
from serving.cubes.kept_experiments import FILE as EXPERIMENTS_FILE
from serving.cubes.kept_experiments import results_as_json
from serving.decide.promise_ratios import FILE, KeptRatios, ratios_as_json
from serving.decide.win_back_evidence import FILE as WIN_BACK_FILE
from serving.decide.win_back_evidence import verdicts_as_json
from serving.offer_measurement.closed_decisions import Measured
from serving.offer_measurement.randomised_offers import randomised_lifts, randomised_words
from serving.stored_days.measurements import MEASUREMENTS, RANDOMISED
from serving.wording.shortage_words import shortage_words

MONEY = ("margin", "revenue")
SHOWN_DAYS = 5


@dataclass(frozen=True)
class Measurement:
    """Metrics of a day's measuring, where they were kept, and what a person should know."""

    metrics: dict[str, Metric]
    outputs: dict[str, str]
    notes: list[str]


def measure_day(settings: Settings, lake: Lake, as_of: date, measured: Measured) -> Measurement:
    """Measure every decision whose outcome is known on a day, and keep what was found."""
    metrics, outputs = ratio_metrics(measured.ratio), {}
    randomised = randomised_lifts(measured.randomised.frame) if len(measured.randomised.frame) else []
    lifts: list[Lift] = []
    if len(measured.frame):
        lifts = measure(measured.frame, KNOWN_BEFORE)
        groups = kpis(measured.frame)
        metrics = {**lift_metrics(lifts), **groups, **metrics}
    if lifts or randomised:
        write_measurement(settings, lake, as_of, measured, [*lifts, *randomised])
        outputs = {"measurement": str(lake.path("measurements", f"day={as_of}"))}
    if measured.win_back:
        kept = verdicts_as_json(as_of, measured.win_back)
        lake.files.publish_file(f"{MEASUREMENTS}/day={as_of}/{WIN_BACK_FILE}", kept.encode())
    if measured.experiments:
        kept = results_as_json(as_of, measured.experiments)
        lake.files.publish_file(f"{MEASUREMENTS}/day={as_of}/{EXPERIMENTS_FILE}", kept.encode())
    metrics |= lift_metrics(randomised) | promise_metrics(measured.promises)
    told = [*notes(settings, as_of, measured, lifts), *notes_of_randomised(settings, measured, randomised)]
    told += [each.words for each in measured.win_back]
    words = english(settings.currency)
    told += [f"experiment {each.name}: {verdict_words(each, words)}" for each in measured.experiments]
    metrics |= {f"win_back.{each.offer_id}.margin": each.effect for each in measured.win_back}
    return Measurement(metrics, outputs, [*told, *promise_notes(as_of, measured.promises)])


def promise_metrics(promises: Sequence[PromiseRatio]) -> dict[str, Metric]:
    """Name what was promised, what came of it, and the ratio that the next promise is multiplied by."""
    found = {}
    for each in promises:
        subject = f"promise.{each.subject.replace(' ', '_')}"
        found[f"{subject}.promised"] = Metric.exact(each.promised, each.shown.n)
        found |= {f"{subject}.shown": each.shown, f"{subject}.ratio": each.ratio}
    return found


def promise_notes(as_of: date, promises: Sequence[PromiseRatio]) -> list[str]:
    """Say how much of what was promised came true, of everything and of each play."""
    kept = KeptRatios(as_of, {each.subject: each for each in promises})
    if kept.whole is None:
        return []
    plays = [f"{each.subject} {each.ratio.value:.0%}" for each in promises if each.subject != ALL]
    return [f"{kept.words}; the next promise is multiplied by that" + (f" ({', '.join(plays)})" if plays else "")]


def ratio_metrics(ratio: SampleRatio | None) -> dict[str, Metric]:
    """Name the test of the split as a metric."""
    return {} if ratio is None else {"offers.srm_p_value": Metric.exact(ratio.p_value, ratio.treated + ratio.control)}


def write_measurement(settings: Settings, lake: Lake, as_of: date, measured: Measured, lifts: Sequence[Lift]) -> None:
    """Keep lifts, figures of the groups and a picture of a day."""
    frame = measured.frame if len(measured.frame) else measured.randomised.frame
    groups = kpis(frame)
    facts = {
        "as_of": str(as_of),
        "first_day": str(frame["day"].min()),
        "last_day": str(frame["day"].max()),
        "window_days": settings.churn.horizon_days,
        "currency": settings.currency,
        "users": len(frame),
        "sample_ratio": measured.ratio.as_dict() if measured.ratio else None,
        "lifts": [found.as_dict() for found in lifts],
        "kpis": {name: metric.as_dict() for name, metric in groups.items()},
        "lifetime_value_assumes": LIFETIME_ASSUMES.format(periods=LIFETIME_PERIODS),
    }
    with lake.whole_folder(MEASUREMENTS, f"day={as_of}") as folder:
        if measured.promises:
            write_text(folder / FILE, ratios_as_json(as_of, measured.promises))
        write_text(folder / "lifts.json", json.dumps(facts, indent=1) + "\n")
        write_bytes(folder / "lifts.png", offers_picture(lifts, settings.currency))


def notes(settings: Settings, as_of: date, measured: Measured, lifts: Sequence[Lift]) -> Iterator[str]:
    """Say what a person should know: the verdict on all offers, whether to trust it, the others; or what is missing."""
    subjects = list(dict.fromkeys(found.subject for found in lifts))
    verdicts = [verdict(subject, [found for found in lifts if found.subject == subject], settings.currency)
                for subject in subjects]  # fmt: skip
    yield from verdicts[:1]
    if not lifts and not len(measured.randomised.frame):
        yield nothing_yet(settings, as_of, measured)
    if measured.ratio is not None:
        yield measured.ratio.advice
    elif measured.first_day is not None:
        yield f"scoring.control_share = {settings.scoring.control_share} leaves no group to compare with; give one"
    yield from verdicts[1:]


def notes_of_randomised(settings: Settings, measured: Measured, lifts: Sequence[Lift]) -> Iterator[str]:
    """Say what randomised offers show, whether to trust it, and how many could not be compared."""
    for subject in dict.fromkeys(found.subject for found in lifts):
        parts = [found for found in lifts if found.subject == subject]
        yield verdict(randomised_words(subject), parts, settings.currency)
    if lifts and measured.randomised.ratio is not None:
        yield f"{randomised_words(RANDOMISED)}: {measured.randomised.ratio.advice}"
    if measured.randomised.left_out:
        days = measured.randomised.left_out_days
        few = ", ".join(map(str, days)) if len(days) <= SHOWN_DAYS else f"{days[0]} to {days[-1]}"
        yield (
            f"{counted(measured.randomised.left_out, 'user is', 'users are')} not compared here, whose first draws "
            f"lie on {counted(len(days), 'day')} ({few}): users of one day drew at different chances, nobody drew "
            "nothing, or the chances were others than those of most users; winback train-models weighs them"
        )


def nothing_yet(settings: Settings, as_of: date, measured: Measured) -> str:
    """Say why nothing can be measured and from which day on something can."""
    horizon, drawn = timedelta(days=settings.churn.horizon_days), measured.randomised
    if measured.first_day is not None:
        return (
            f"no decision before {as_of} is closed yet: the first that meant an offer was made on "
            f"{measured.first_day} and can be measured from {measured.first_day + horizon} on"
        )
    if drawn.first_day is not None and drawn.first_day + horizon > as_of:
        many = counted(drawn.offers, "offer was", "offers were")
        return (
            f"{many} given before {as_of}, the first on {drawn.first_day}: measurable from {drawn.first_day + horizon}"
        )
    if drawn.offers:
        return (
            f"{counted(drawn.offers, 'offer was', 'offers were')} given before {as_of}, but no decision of the policy "
            "meant one: there is no control group to compare them with"
        )
    return (
        f"the ledger has no decision before {as_of} that meant an offer for anyone; one made on {as_of} "
        f"(winback score-users) can be measured from {as_of + horizon} on"
    )


def verdict(subject: str, lifts: Sequence[Lift], currency: str) -> str:
    """Put what is known about one subject into a sentence.

    Examples
    --------
    >>> from models.measurement.lift import Shortage
    >>> lacking = (Shortage("control", "users", 1, 30),)
    >>> verdict("push", [Lift("push", "margin", 90, 1, 90, 1, None, None, None, 0, lacking)], "EUR")
    'push: margin: not enough data (users in the control group: 1, at least 30 are needed)'
    """
    measures_by_words: dict[str, list[str]] = {}
    for found in lifts:
        measures_by_words.setdefault(_in_words(found, currency), []).append(found.measure)
    return f"{subject}: " + "; ".join(f"{', '.join(measures)}: {text}" for text, measures in measures_by_words.items())


def _in_words(lift: Lift, currency: str) -> str:
    if lift.shortage or lift.cuped is None:
        return f"{lift.verdict} ({shortage_words(lift.shortage, english(currency))})"
    effect, unit = lift.cuped.absolute, f" {currency}" if lift.measure in MONEY else ""
    amount = f"{effect.value:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]{unit} a user"
    return f"{lift.verdict}, {amount}, adjusted p = {lift.p_adjusted:.2g}"
