"""Whether a discount can be personal: which levels were given so far, and whether at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from configs.offers import NO_OFFER, Catalogue
from features.storage.lake import Lake, literal
from features.tables.duckdb_sessions import sql_text
from models.policy_value.policy_verdict import PERSONAL
from serving.stored_days.day_tables import connect
from serving.wording.reason_codes import Reason, Reasons

Standing = Literal["nothing_given", "one_level", "not_at_random", "at_random"]


@dataclass(frozen=True)
class LevelsGiven:
    """Levels at which one offer was given before a day, as shares, rising; `at_random` are those that chance chose."""

    offer_id: str
    levels: tuple[float, ...]
    at_random: tuple[float, ...]

    @property
    def standing(self) -> Standing:
        """What the levels given can tell of what a deeper one changes."""
        if not self.levels:
            return "nothing_given"
        if len(self.levels) == 1:
            return "one_level"
        return "at_random" if len(self.at_random) > 1 else "not_at_random"


def levels_given(lake: Lake, as_of: date, catalogue: Catalogue) -> list[LevelsGiven]:
    """Read at which levels each offer of the catalogue was given before a day."""
    found: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    files = [literal(lake.partition("treatments", day)) for day in lake.days("treatments") if day < as_of]
    if files:
        listed = ", ".join(sql_text(file) for file in files)
        query = f"""
            SELECT offer_id, list_sort(list(DISTINCT round(discount, 6))),
                   list_sort(list(DISTINCT round(discount, 6)) FILTER (propensity > 0 AND propensity < 1))
            FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)
            WHERE offer_id <> {sql_text(NO_OFFER)} GROUP BY offer_id ORDER BY offer_id
        """
        with connect(lake) as connection:
            rows = connection.execute(query).fetchall()
        found = {offer_id: (tuple(levels), tuple(at_random or ())) for offer_id, levels, at_random in rows}
    return [LevelsGiven(offer.offer_id, *found.get(offer.offer_id, ((), ()))) for offer in catalogue.offers]


def why_discounts(lake: Lake, as_of: date, catalogue: Catalogue, deployed: str | None) -> Reasons:
    """Say why a discount is personal on a day, or why it is not; `deployed` is what the gate allows, if it judged."""
    given = levels_given(lake, as_of, catalogue)
    return discount_reasons(given, is_personal=deployed == PERSONAL, is_judged=deployed is not None)


def discount_reasons(given: Sequence[LevelsGiven], *, is_personal: bool, is_judged: bool) -> Reasons:
    """Say why a discount is personal here, or why it is not; nothing where no offer has a discount.

    Parameters
    ----------
    is_personal
        Whether the gate lets every user's own level be chosen.
    is_judged
        Whether held-out treatments judged that at all.
    """
    given = [each for each in given if each.levels != (0.0,)]
    if not given:
        return ()
    if any(each.standing == "at_random" for each in given) and is_judged:
        return (Reason("discount_personal"),) if is_personal else (Reason("discount_same"), Reason("plan_levels"))
    return (Reason("levels_not_apart"), *map(_standing_of, given), Reason("plan_levels"))


def _standing_of(given: LevelsGiven) -> Reason:
    level = given.levels[0] if given.standing == "one_level" else None
    return Reason(given.standing, value=given.offer_id, number=level)
