"""What deciding personally is worth on randomised offers: Starbucks rewards, learnt up to hour 408, decided for 504.

The data are simulated by their publisher and lie outside the repository. Each of the waves gave a person one of ten
offers, or nothing, with known probability; a decision is worth the spend of the next 72 hours, capped at 100, less the
rewards paid in them. Everything was chosen on waves up to hour 408: the wave of hour 504 is read once, for the values.
Run as a script it prints one JSON object; ``--quick`` takes a quarter of the persons, a path is another data folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.offers import Option, load_catalogue
from configs.settings import Settings, load_settings
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import TRAINING_SERVICE
from features.ingestion.ingest_source import ingest_source
from features.materialise.as_of_view import open_as_of
from features.materialise.build_daily import build_aggregates
from features.materialise.build_snapshots import build_snapshots
from features.materialise.user_traits import user_traits
from features.storage.lake import Lake
from features.training_data.feature_store import EVENT_TIMESTAMP, open_store, point_in_time_frame
from features.training_data.frames import measured_frame, with_categories
from models.effects.effect_model import ActionSet
from models.effects.uplift import LearntEffects, learn_effects, usable_options
from models.metrics.splits import hash_share
from models.policy_value.off_policy import Logged, ValueEstimator, ips_value, value_difference
from models.policy_value.policy_verdict import PolicyValue
from serving.knapsack.allocation import choose

RAW = Path(__file__).parents[3] / "shared" / "data" / "starbucks"
FIRST_DAY = date(2018, 7, 27)
LEARNT_HOURS, DECIDED_HOUR = (0, 168, 336, 408), 504
MOST_SPEND = 100.0  # a few purchases of up to 1,000 dollars would drown everybody else's
QUICK_SHARE = 0.25
Metrics = dict[str, dict[str, Any]]


def day_of(hour: int) -> date:
    """Day that begins at an hour of the log."""
    return FIRST_DAY + timedelta(hours=hour)


def prepared(raw: Path, folder: Path) -> tuple[Settings, Lake]:
    """Ingest the raw files and take the snapshots of the waves, each of what was known before it."""
    settings = load_settings("starbucks", data_dir=folder, ingest={"raw": str(raw)})
    lake = Lake(settings.data_dir)
    ingest_source(settings, lake, datetime.now(UTC))
    build_aggregates(settings, lake)
    with open_as_of(settings, lake, day_of(DECIDED_HOUR)) as history:
        build_snapshots(history, [day_of(hour) for hour in (*LEARNT_HOURS, DECIDED_HOUR)])
    return settings, lake


def wave_frame(settings: Settings, lake: Lake, hours: tuple[int, ...], as_of: date, share: float) -> pd.DataFrame:
    """Join each draw of some waves to what came of it, as far as that was known at `as_of`, and to its features.

    One row per person and wave, whoever was active or not: offer_id, discount, propensity, the snapshot's features and
    `margin_soon`, the outcome that `learn_effects` reads: capped spend less rewards, as no other cost is known.
    """
    with open_as_of(settings, lake, as_of) as history:
        assert history.treatments is not None
        draws = history.treatments.filter(history.treatments.day.isin([day_of(hour) for hour in hours]))
        entries = draws.select("user_id", "offer_id", "discount", "propensity", as_of="decided_at").to_pandas()
        rows = measured_frame(history, entries[hash_share(entries["user_id"], "bench") < share])
        reward = rows["revenue"] - rows["margin"]
        rows = rows.assign(margin_soon=rows["revenue"].clip(upper=MOST_SPEND) - reward)
        rows[EVENT_TIMESTAMP] = rows["as_of"]
        store = open_store(lake, history.features)
        return with_categories(store, TRAINING_SERVICE, point_in_time_frame(store, TRAINING_SERVICE, rows))


def logged_wave(wave: pd.DataFrame, options: tuple[Option, ...]) -> Logged:
    """Read a wave as off-policy estimators do: 0 is nothing."""
    place = ActionSet(options, ()).places(wave["offer_id"].astype(str).tolist(), wave["discount"].to_numpy(dtype=float))
    return Logged(place + 1, wave["propensity"].to_numpy(), wave["margin_soon"].to_numpy(), wave["user_id"])


def metric(value: PolicyValue, **notes: object) -> dict[str, Any]:
    """Value a head with its interval and the users it rests on; null where they are too few for a number."""
    numbers = {"value": value.value, "low": value.low, "high": value.high}
    known = {name: number if value.is_known else None for name, number in numbers.items()}
    return {**known, "n": value.n, "effective_users": value.effective_sample_size, **notes}


def judged(learnt: LearntEffects, wave: pd.DataFrame) -> Metrics:
    """Value the personal policy, every constant one and nobody on a wave, and their paired differences.

    The best constant offer is the best of the ten on the very wave that judges, the known one that with the highest
    mean effect on the waves before.
    """
    logged = logged_wave(wave, learnt.options)
    names = ["nobody", *(offer for offer, _ in learnt.options)]
    constant = [np.full(len(wave), place) for place in range(len(names))]
    values = [ips_value(logged, choice) for choice in constant]
    effects = learnt.effect_model.effects(wave, learnt.options)
    personal = choose(effects, np.zeros(effects.shape), 0.0) + 1
    shares = np.bincount(personal, minlength=len(names)) / len(wave)
    given = {name: round(float(share), 4) for name, share in zip(names, shares, strict=True) if share > 0}
    metrics = {"starbucks.value_personal": metric(ips_value(logged, personal), given=given)}
    metrics |= {f"starbucks.value_{name}": metric(value) for name, value in zip(names, values, strict=True)}
    best = 1 + int(np.argmax([value.value for value in values[1:]]))
    rivals = {"nobody": 0, "best_constant": best, "known_constant": 1 + int(learnt.mean.argmax())}
    kinds: tuple[tuple[ValueEstimator, str], ...] = (("ips", ""), ("snips", "_snips"))
    for rival, place in rivals.items():
        for estimator, ending in kinds:
            lead = value_difference(logged, personal, constant[place], estimator=estimator)
            metrics[f"starbucks.lead_over_{rival}{ending}"] = metric(lead, against=names[place])
    return metrics


def run(
    quick: bool = False, raw: Path = RAW, learnt_hours: tuple[int, ...] = LEARNT_HOURS, decided: int = DECIDED_HOUR
) -> Metrics:
    """Learn on some waves, decide for a later one, and value the decisions; the effects see nothing from it on."""
    share = QUICK_SHARE if quick else 1.0
    with tempfile.TemporaryDirectory() as folder:
        settings, lake = prepared(raw, Path(folder))
        features = declarations_of(settings).catalogue(user_traits(lake, settings))
        waves = wave_frame(settings, lake, learnt_hours, day_of(decided), share)
        closed = day_of(decided) + timedelta(days=settings.churn.horizon_days)
        wave = wave_frame(settings, lake, (decided,), closed, share)
    wanted = load_catalogue(settings.offers).options
    learnt = learn_effects(waves, usable_options(waves, wanted), features, settings)
    return judged(learnt["margin_soon"], wave)


def main() -> None:
    """Print the metrics."""
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("--")]
    raw = folders[0] if folders else RAW
    print(json.dumps(run("--quick" in sys.argv, raw), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
