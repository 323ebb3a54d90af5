"""Early refusal of a day that was decided before and whose decisions must not change."""

from __future__ import annotations

from datetime import date, timedelta

from configs.contact import WINDOW_DAYS
from configs.errors import InputError
from configs.offers import NO_OFFER, Catalogue
from configs.progress import announce
from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import reading_session, sql_text
from serving.stored_days.day_tables import decided_days
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.ledger import entry_name
from serving.stored_days.supersessions import STAYS, require_not_carried_out

ENTRY = """
    SELECT count(*), count(*) FILTER (policy_version = {version}),
           count(*) FILTER (offer_id NOT IN ({offers})), min(offer_id) FILTER (offer_id NOT IN ({offers}))
    FROM read_parquet({entry}, hive_partitioning = false)
"""


def require_in_order(lake: Lake, settings: Settings, catalogue: Catalogue, day: date) -> None:
    """Refuse to decide a day that has no decisions, where what a later day gave would not count for it.

    Caps, cool-downs, open offers and total stocks of a day count what was given before it, so days are decided in
    their order; who gets a message of the later day would get one of this day, too.

    Raises
    ------
    InputError
        A later day is decided whose windows reach back to it.
    """
    decided = decided_days(lake)
    later = [each for each in decided if day < each <= day + _reach(settings, catalogue)] if day not in decided else []
    if later:
        raise InputError(
            f"{day} has no decisions and {later[0]} has: what {later[0]} gave would not count for the caps and open "
            f"offers of {day}; decide days in their order, or, for a complete ledger of which nothing is sent, run "
            f"winback backfill --from {day} --to {day} --decisions"
        )


def _reach(settings: Settings, catalogue: Catalogue) -> timedelta:
    """Say for how long what is given counts for what may be given after it."""
    if not catalogue.offers:
        return timedelta()  # nothing can be given
    if any(offer.total_stock is not None for offer in catalogue.offers):
        return timedelta(days=100_000)  # a stock counts all days
    own = [max(offer.valid_days, offer.cool_down_days) for offer in catalogue.offers]
    return timedelta(days=max([WINDOW_DAYS, settings.churn.horizon_days, *own]))


def look_before(
    lake: Lake, moment: DecisionMoment, version: str, catalogue: Catalogue, users: int, supersede: str | None
) -> None:
    """Refuse decisions that cannot count, before the hour that it takes to make them; say what may be refused.

    They are bound to be others where there are other users now, or an offer that was given is offered no more. Another
    policy may decide the same, and later events may change nothing: of these it is told what happens if not.

    Parameters
    ----------
    version
        Name of the policy that would decide.
    users
        Who would be decided about.
    supersede
        Why new decisions would take the place of the earlier ones, if they are to.

    Raises
    ------
    InputError
        They are bound to be refused.
    """
    name = entry_name(moment)
    if not lake.files.exists(name):
        return
    lake.files.check(name)
    if supersede is not None:
        require_not_carried_out(lake, moment, name)
        return
    offers = ", ".join(sql_text(each) for each in (NO_OFFER, *(offer.offer_id for offer in catalogue.offers)))
    asked = ENTRY.format(version=sql_text(version), offers=offers, entry=sql_text(lake.path(name)))
    with reading_session(lake) as connection:
        rows, own, lost, offer = connection.execute(asked).fetchall()[0]
    if rows != users:
        raise InputError(f"{moment.day} was decided for {rows:,} users, and now there are {users:,}: {STAYS}")
    if lost:
        raise InputError(
            f"{moment.day} was decided otherwise before ({lost:,} users got {offer}, which the catalogue has no more): "
            f"{STAYS}"
        )
    if own < rows:
        announce(f"{moment.day} was decided before by another policy; where it comes out otherwise, {STAYS}")
