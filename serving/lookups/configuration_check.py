"""Whether a configuration can work, before any data is read: each fault is one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from configs.consistency import check_channels, check_floor
from configs.errors import InputError
from configs.offers import Catalogue, load_catalogue
from configs.settings import FOLDER, Settings, named_file
from features.definitions.app_declarations import declarations_of
from features.ingestion.ingest_source import NO_EVENTS, defined_views, raw_folder
from features.storage.duckdb_sessions import sql_text
from features.storage.lake import Lake
from serving.decide.day_tables import connect
from serving.wording.language_file import load_language

NEEDED = {
    "activity": "nobody can be seen to stay or to leave",
    "value": "nobody is worth anything",
}
NEWEST_DAYS = 28  # of events, whose names are compared with the roles


@dataclass(frozen=True)
class ConfigurationCheck:
    """What is wrong, so that a command would refuse it, and what is missing, so that less is done; a sentence each."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]


def check_configuration(settings: Settings, lake: Lake) -> ConfigurationCheck:
    """Check roles, source, offers and own columns; where the data folder holds events, also the roles against them."""
    faults = [*_faults_of_roles(settings), *_refusals(lambda: check_source(settings))]
    faults += _refusals(lambda: check_offers(settings))
    faults += _refusals(lambda: declarations_of(settings))
    faults += _refusals(lambda: load_language(settings.language))
    return ConfigurationCheck(tuple(faults), (*_missing(settings), *_unseen_roles(settings, lake)))


def check_source(settings: Settings) -> None:
    """Parse the source.

    Raises
    ------
    InputError
        There is no such file, it is not SQL, or it defines no view ``events``.
    """
    script = named_file(settings.ingest.source, FOLDER / "sources", ".sql", "source")
    if "events" not in defined_views(script):
        raise InputError(NO_EVENTS.format(script=script))


def check_offers(settings: Settings) -> None:
    """Read the catalogue of offers and hold the settings against it.

    Raises
    ------
    InputError
        There is no such file, an offer is wrong, or settings and offers disagree.
    """
    catalogue = load_catalogue(settings.offers)
    check_channels(settings, catalogue)
    check_floor(settings, len(catalogue.options))


def _refusals(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except InputError as error:
        return [str(error)]
    return []


def _faults_of_roles(settings: Settings) -> Iterator[str]:
    for role, then in NEEDED.items():
        if not getattr(settings.roles, role):
            yield f"roles.{role} names no event, so that {then}; name at least one"


def _missing(settings: Settings) -> Iterator[str]:
    yield from _refusals(lambda: raw_folder(settings.ingest.raw))
    try:
        catalogue = load_catalogue(settings.offers)
    except InputError:
        return  # a fault already
    yield from _gaps_of_offers(settings, catalogue)


def _gaps_of_offers(settings: Settings, catalogue: Catalogue) -> Iterator[str]:
    if not catalogue.offers:
        yield f"offers = {settings.offers!r} is an empty catalogue: risk is told, and nobody is given anything"
    elif not settings.roles.offer_redeem:
        yield "roles.offer_redeem names no event, so that no offer is ever seen to be used; name the event that tells"
    if catalogue.offers and not settings.scoring.budget:
        yield "scoring.budget = 0 pays for no offer; raise it"


def _unseen_roles(settings: Settings, lake: Lake) -> Iterator[str]:
    days = lake.days("events")[-NEWEST_DAYS:]
    if not days:
        return
    files = ", ".join(sql_text(lake.partition("events", day)) for day in days)
    with connect(lake) as connection:
        found = connection.execute(f"SELECT DISTINCT event_name FROM read_parquet([{files}]) ORDER BY ALL").fetchall()
    seen = [name for (name,) in found]
    for role in NEEDED:
        names = getattr(settings.roles, role)
        if names and not set(names) & set(seen):
            yield (
                f"no event from {days[0]} to {days[-1]} plays roles.{role} ({', '.join(names)}); "
                f"the data has {', '.join(seen)}"
            )
