"""How many users have no consent on record, per channel."""

from __future__ import annotations

from datetime import date

from configs.offers import Catalogue
from configs.settings import Settings
from features.ingestion.contract import CONSENT
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import sql_text
from features.training_data.contact_details import contact_columns
from serving.contact_rules.channels import channels_of
from serving.stored_days.day_tables import connect, decisions_source
from serving.wording.rendering import Words

COUNTS = {"granted": "granted", "refused": "refused"}
NOT_ON_RECORD = (
    "of {users} users no consent to {channel} is on record (users' {column}): it counts as {counts} "
    "(contact.unknown_consent)"
)


def unknown_consents(lake: Lake, as_of: date, catalogue: Catalogue) -> dict[str, int]:
    """Count the users of a day whose consent is not known, by channel of the catalogue; those without any are left out.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    channels = list(dict.fromkeys(channel for offer in catalogue.offers for channel in channels_of(offer)))
    known, decisions = contact_columns(lake), decisions_source(lake, as_of)
    counts = [
        f'count(*) FILTER (u."{CONSENT}{each}" IS NULL)' if f"{CONSENT}{each}" in known else "count(*)"
        for each in channels
    ]
    if not counts:
        return {}
    users = f"read_parquet({sql_text(lake.path(USERS_FILE))})" if known else "(SELECT NULL AS user_id)"
    with connect(lake) as connection:
        found = connection.execute(
            f"SELECT {', '.join(counts)} FROM {decisions} d LEFT JOIN {users} u ON d.user_id = u.user_id"
        ).fetchone()
    return {channel: users for channel, users in zip(channels, found or (), strict=True) if users}


def consent_notes(settings: Settings, unknown: dict[str, int], words: Words) -> list[str]:
    """Say what counts where no consent is known.

    Examples
    --------
    >>> from configs.settings import load_settings
    >>> from serving.wording.language_file import load_language
    >>> consent_notes(load_settings(), {"push": 1200}, Words(load_language("en")))[0][:65]
    "of 1,200 users no consent to push is on record (users' consent_pu"
    """
    counts = words.say(COUNTS[settings.contact.unknown_consent])
    return [
        words.say(NOT_ON_RECORD, users=words.figures.thousands(users), channel=words.term(channel),
                  column=f"{CONSENT}{channel}", counts=counts)
        for channel, users in unknown.items()
    ]  # fmt: skip
