"""Early refusal of a day that was decided before and whose decisions must not change."""

from __future__ import annotations

from configs.errors import InputError
from configs.offers import NO_OFFER, Catalogue
from configs.progress import announce
from features.storage.lake import Lake
from features.tables.duckdb_sessions import reading_session, sql_text
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.ledger import entry_name
from serving.stored_days.supersessions import STAYS, require_not_carried_out

ENTRY = """
    SELECT count(*), count(*) FILTER (policy_version = {version}),
           count(*) FILTER (offer_id NOT IN ({offers})), min(offer_id) FILTER (offer_id NOT IN ({offers}))
    FROM read_parquet({entry}, hive_partitioning = false)
"""


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
