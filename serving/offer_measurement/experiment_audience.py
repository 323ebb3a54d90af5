"""The audience of a planned experiment: how many users it can reach, and how much their outcomes vary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import pandas as pd

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.materialise.as_of_view import open_as_of
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.training_data.frames import KNOWN_BEFORE, measured_frame
from models.measurement.power import unexplained_deviation
from serving.arms.assignment import EXPLORE, POLICY
from serving.offer_measurement.experiment_plan import Audience
from serving.stored_days.day_tables import connect, day_file, decisions_source
from serving.wording.reason_codes import DEPENDS, DOES_NOT_PAY, NO_DATA, NOT_VALUED, OTHER_RULE, UNLIKE

SAMPLE = 50_000  # users whose outcomes say how much people differ
MAY_BE_TRIED = (NO_DATA, UNLIKE, OTHER_RULE, NOT_VALUED, DEPENDS, DOES_NOT_PAY)  # reasons that forbid no random draw


def costs_a_head(lake: Lake, as_of: date) -> Mapping[str, Mapping[float, float]]:
    """Mean expected cost of every option among those who may be given it at random, by offer and discount."""
    codes = ", ".join(map(sql_text, MAY_BE_TRIED))
    query = f"""
        SELECT offer_id, discount, avg(expected_cost) FROM read_parquet({sql_text(day_file(lake, as_of, "options"))})
        WHERE eligible OR why_not[1].code IN ({codes}) GROUP BY ALL ORDER BY ALL
    """
    found: dict[str, dict[float, float]] = {}
    with connect(lake) as connection:
        for offer_id, discount, cost in connection.execute(query).fetchall():
            found.setdefault(offer_id, {})[discount] = cost
    return found


def audience_of(settings: Settings, lake: Lake, as_of: date) -> Audience:
    """Measure the audience of an experiment that would begin on a decided day.

    Raises
    ------
    InputError
        The day has no decisions, or no snapshot is old enough for its outcomes to be known.
    """
    people, remaining = _people_and_worth(lake, as_of)
    outcomes = _outcomes(settings, lake, as_of)
    worth = (outcomes["margin"] + remaining * outcomes["is_retained"]).to_numpy(dtype=np.float64)
    known = outcomes[list(KNOWN_BEFORE)].to_numpy(dtype=np.float64)
    deviation, plain = unexplained_deviation(worth, known), float(worth.std(ddof=1))
    explained = 1 - (deviation / plain) ** 2 if plain else 0.0
    return Audience(people, deviation, explained, float(outcomes["is_retained"].mean()), len(worth))


def _people_and_worth(lake: Lake, as_of: date) -> tuple[int, float]:
    """Count those who may be given something at random, and take what staying is worth for them on average."""
    arms = ", ".join(map(sql_text, (POLICY, EXPLORE)))
    query = f"""
        SELECT count(*), coalesce(avg(remaining_value), 0.0) FROM {decisions_source(lake, as_of)}
        WHERE arm IN ({arms}) AND suppressed_because IS NULL
    """
    with connect(lake) as connection:
        people, remaining = connection.execute(query).fetchall()[0]
    return int(people), float(remaining)


def _outcomes(settings: Settings, lake: Lake, as_of: date) -> pd.DataFrame:
    """Read what became of some of the users who were active on the newest day whose horizon is over."""
    closed = as_of - timedelta(days=settings.churn.horizon_days)
    days = [day for day in lake.days("snapshots") if day <= closed]
    if not days:
        raise InputError(
            f"no snapshot lies churn.horizon_days = {settings.churn.horizon_days} before {as_of}, so nothing tells how "
            "much people differ; run winback build-features, or plan once the history is longer"
        )
    snapshot = sql_text(lake.partition("snapshots", days[-1]))
    query = f"""
        SELECT user_id FROM read_parquet({snapshot})
        WHERE days_since_last_activity <= {settings.churn.lookback_days} ORDER BY md5(user_id) LIMIT {SAMPLE}
    """
    with connect(lake) as connection:
        user_ids = [user_id for (user_id,) in connection.execute(query).fetchall()]
    if len(user_ids) < settings.training.min_users:
        raise InputError(
            f"{len(user_ids)} users were active before {days[-1]}, training.min_users = {settings.training.min_users}: "
            "too few to tell how much people differ"
        )
    entries = pd.DataFrame({"user_id": user_ids, "as_of": start_of(days[-1], settings.time_zone)})
    with open_as_of(settings, lake, as_of) as history:
        return measured_frame(history, entries)
