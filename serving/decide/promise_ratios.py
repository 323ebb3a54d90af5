"""The newest measured promise ratios, and the gain that a day's plan may therefore promise."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from features.storage.lake import Lake
from models.measurement.promise_ratio import ALL, PromiseRatio
from models.metrics.metric import Metric
from serving.stored_days.day_tables import connect, decisions_source
from serving.stored_days.measurements import newest_measurement

FILE = "promises.json"


@dataclass(frozen=True)
class KeptRatios:
    """Ratios by play, and of everything under `ALL`, as measured on a day; none before there was evidence."""

    measured_on: date | None
    ratios: dict[str, PromiseRatio]

    @property
    def whole(self) -> Metric | None:
        """Ratio of everything; None before there was evidence."""
        return self.ratios[ALL].ratio if ALL in self.ratios else None

    def of(self, play: str | None) -> Metric | None:
        """Ratio of a play; that of everything where nothing is known of it alone."""
        known = self.ratios.get(play or ALL)
        return known.ratio if known is not None else self.whole

    def multiplier(self, play: str | None) -> float:
        """Return the number that a play's promises are multiplied by."""
        found = self.of(play)
        return 1.0 if found is None else found.value

    @property
    def words(self) -> str:
        """What to tell people of everything, in English."""
        return self.words_in(str.format)

    def words_in(self, say: Callable[..., str]) -> str:
        """Tell people of everything; `say` gives an English text in a language, with its fields."""
        if self.whole is None:
            return say("no plan has been measured yet: what is promised has not been held against what came")
        whole = self.ratios[ALL]
        return say(
            "plans brought {value:.0%} [{low:.0%}, {high:.0%}] of what they promised (promised {promised:.2f} a head, "
            "shown {shown:.2f} [{shown_low:.2f}, {shown_high:.2f}], pulled to 100% where that is uncertain; measured "
            "on {day})",
            value=self.whole.value, low=self.whole.low, high=self.whole.high, promised=whole.promised,
            shown=whole.shown.value, shown_low=whole.shown.low, shown_high=whole.shown.high, day=self.measured_on,
        )  # fmt: skip


NOTHING_KEPT = KeptRatios(None, {})
AS_MODELLED = PromiseRatio(ALL, 0.0, Metric.exact(0.0, 0), Metric.exact(1.0, 0))  # promises as the models make them


def ratios_as_json(as_of: date, ratios: Sequence[PromiseRatio]) -> str:
    """Write ratios as they are kept."""
    return json.dumps({"as_of": str(as_of), "promises": [each.as_dict() for each in ratios]}, indent=1) + "\n"


def newest_ratios(lake: Lake, as_of: date) -> KeptRatios:
    """Read the ratios that were measured last, on or before a day.

    Raises
    ------
    DamagedError
        The file is not the one that was written.
    """
    found = newest_measurement(lake, as_of, FILE)
    if found is None:
        return NOTHING_KEPT
    day, kept = found
    return KeptRatios(day, {each["subject"]: _ratio(each) for each in kept["promises"]})


def _ratio(stored: dict[str, Any]) -> PromiseRatio:
    return PromiseRatio(stored["subject"], stored["promised"], Metric(**stored["shown"]), Metric(**stored["ratio"]))


def plan_promise(lake: Lake, as_of: date, ratios: KeptRatios) -> Metric | None:
    """Add up what the offers of a day's plan promise, each play by its ratio; None before there was evidence.

    The interval is that of the ratios, taken as if all plays erred alike, which is the widest.
    """
    if ratios.whole is None:
        return None
    with connect(lake) as connection:
        rows = connection.execute(f"""
            SELECT play, sum(expected_value), count(*) FROM {decisions_source(lake, as_of)}
            WHERE offer_id <> 'none' GROUP BY ALL ORDER BY ALL
        """).fetchall()
    return promised_sum(ratios, rows)


def promised_sum(ratios: KeptRatios, rows: Sequence[tuple[str | None, float, int]]) -> Metric:
    """Multiply the sums of plays by their ratios.

    Parameters
    ----------
    rows
        Play, sum of its expected values, and its users.
    """
    value = low = high = 0.0
    for play, said, _ in rows:
        ratio = ratios.of(play)
        ends = sorted((ratio.low * said, ratio.high * said)) if ratio is not None else [said, said]
        value, low, high = value + ratios.multiplier(play) * said, low + ends[0], high + ends[1]
    return Metric(value, low, high, sum(users for *_, users in rows))
