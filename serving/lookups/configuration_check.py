"""Checks of a configuration before anything is written; each fault is a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from configs.benefits import window_of
from configs.consistency import check_channels, check_floor
from configs.errors import InputError, did_you_mean
from configs.named_files import FOLDER, named_file
from configs.offers import STARTING_POINT, Catalogue, load_catalogue
from configs.settings import OFFERS_FILE, Settings
from features.definitions.app_declarations import declarations_of
from features.ingestion.ingest_source import NO_EVENTS
from features.materialise.user_traits import user_traits
from features.sources.source_script import defined_views, raw_folder
from features.storage.lake import Lake
from serving.contact_rules.channels import channels_of
from serving.lookups.data_check import History, check_data
from serving.memberships.segment_day import load_rules
from serving.messages.checked_texts import check_messages
from serving.plays.play_rules import play_rules_of
from serving.wording.half_languages import language_notes
from serving.wording.language_file import load_language


@dataclass(frozen=True)
class ConfigurationCheck:
    """What is wrong, so that a command would refuse it, and what is missing, so that less is done; a sentence each.

    `history` is what the events are, None where there are none to look at.
    """

    faults: tuple[str, ...]
    notes: tuple[str, ...]
    history: History | None = None


def check_configuration(
    settings: Settings, lake: Lake, now: datetime, as_of: date, *, is_default: bool
) -> ConfigurationCheck:
    """Check roles, source, offers and own columns, and all of them against the rows that the source yields.

    The source is run and its rows are checked as `ingest` does, and nothing is written; where it cannot be run, the
    rows of the data folder are looked at.

    Parameters
    ----------
    as_of
        Day that would be decided; `is_default` where nobody named it.
    """
    of_source, of_offers = (_refusals(partial(check, settings)) for check in (check_source, check_offers))
    faults = [*of_source, *of_offers]
    faults += _refusals(lambda: declarations_of(settings))
    faults += _refusals(lambda: load_language(settings.language)) + _refusals(lambda: load_rules(settings, lake))
    left_out = list[str]()
    faults += [] if of_offers else _refusals(lambda: left_out.extend(_plays_left_out(settings, lake)))
    missing = [*_missing(settings), *left_out]
    missing += [] if _refusals(lambda: load_language(settings.language)) else language_notes(settings)
    if of_offers:
        return ConfigurationCheck(tuple(faults), tuple(missing))
    has_source = not of_source and not _refusals(lambda: raw_folder(settings.ingest.raw))
    data = check_data(settings, lake, now, as_of, is_default=is_default, has_source=has_source)
    return ConfigurationCheck((*faults, *data.faults), (*missing, *data.notes), data.history)


def check_source(settings: Settings) -> None:
    """Parse the source.

    Raises
    ------
    InputError
        There is no such file, it is not SQL, or it defines neither ``events`` nor ``treatments``.
    """
    script = named_file(settings.ingest.source, FOLDER / "sources", ".sql", "source")
    if not {"events", "treatments"} & set(defined_views(script)):
        raise InputError(NO_EVENTS.format(script=script))


def check_offers(settings: Settings) -> None:
    """Read the catalogue of offers and hold the settings against it.

    Raises
    ------
    InputError
        There is no such file, an offer is wrong, or settings and offers disagree.
    """
    is_of_treatments = settings.offers == str(settings.data_dir / OFFERS_FILE)
    if is_of_treatments and not Lake(settings.data_dir).files.exists(OFFERS_FILE):
        return  # the next ingest writes it
    catalogue = load_catalogue(settings.offers)
    check_channels(settings, catalogue)
    check_floor(settings, len(catalogue.options))
    check_messages(settings, catalogue, load_language(settings.language))
    amounts = [each.name for each in declarations_of(settings).catalogue() if each.unit == "money"]
    for offer in catalogue.offers:
        if window_of(offer.scope) is not None and offer.scope not in amounts:
            raise InputError(
                f"the scope {offer.scope!r} of offer {offer.offer_id!r} is no column of money; "
                f"{did_you_mean(offer.scope, amounts)}"
            )


def _plays_left_out(settings: Settings, lake: Lake) -> Iterator[str]:
    """Say which plays of the catalogue this app cannot have; a wrong rule of a play is an `InputError`."""
    is_of_treatments = settings.offers == str(settings.data_dir / OFFERS_FILE)
    catalogue = Catalogue(offers=()) if is_of_treatments else load_catalogue(settings.offers)
    features = declarations_of(settings).catalogue(user_traits(lake, settings))
    for play, lack in play_rules_of(settings, features, catalogue).left_out.items():
        yield f"the play {play!r} of {settings.offers!r} is left out, as this app has no column {lack}"


def _refusals(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except InputError as error:
        return [str(error)]
    return []


def _missing(settings: Settings) -> list[str]:
    missing = _refusals(lambda: raw_folder(settings.ingest.raw))
    if not settings.roles.value:
        missing.append("roles.value names no event that brings money: risk is told, and the report counts people")
    missing += _late_run(settings)
    try:
        catalogue = load_catalogue(settings.offers)
    except InputError:
        return missing  # a fault already
    return [*missing, *_gaps_of_offers(settings, catalogue)]


def _late_run(settings: Settings) -> list[str]:
    """Say when the night's run starts after the hour by which its decisions should be out, as far as cron is plain."""
    schedule, ready = settings.schedule, settings.contact.ready_hour
    hour = [*schedule.score_cron.split(), "", ""][1]
    if schedule.time_zone != settings.time_zone or not hour.isdigit() or int(hour) < ready:
        return []
    return [
        f"schedule.score_cron = {schedule.score_cron!r} starts at {hour}:00 or later, but messages go out from "
        f"contact.ready_hour = {ready} on; raise that"
    ]


def _unused_channels(settings: Settings, catalogue: Catalogue) -> Iterator[str]:
    """Say which channels have a cap or an address, and no offer goes by them."""
    used = dict.fromkeys(channel for offer in catalogue.offers for channel in channels_of(offer))
    for name in ("channel_caps", "addresses"):
        for channel in getattr(settings.contact, name):
            if used and channel not in used:
                near = did_you_mean(channel, used)
                yield f"contact.{name}.{channel} holds for nothing, as no offer goes by that channel; {near}"


def _gaps_of_offers(settings: Settings, catalogue: Catalogue) -> Iterator[str]:
    if not catalogue.offers:
        yield f"offers = {settings.offers!r} is an empty catalogue: risk is told, and nobody is given anything"
    elif settings.offers == STARTING_POINT:
        yield f"offers = {settings.offers!r} is a starting point and not yours: name your catalogue, or 'none'"
    if catalogue.offers and not settings.roles.offer_redeem:
        yield "roles.offer_redeem names no event, so that no offer is ever seen to be used; name the event that tells"
    yield from settings.contact.idle_caps()
    yield from _unused_channels(settings, catalogue)
    if catalogue.offers and settings.contact.unknown_consent == "granted":
        yield (
            "contact.unknown_consent = 'granted': whoever is not on record as refusing a channel (consent_push, … of "
            "users) is written to; where the law asks people first, set it to 'refused'"
        )
    if catalogue.offers and not settings.scoring.budget:
        yield "scoring.budget = 0 pays for no offer; raise it"
