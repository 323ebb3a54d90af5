"""Checks that every text of a catalogue can be written to every user; each fault names file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import chain, combinations
from pathlib import Path

from configs.benefits import Benefit
from configs.errors import InputError, did_you_mean, shortened
from configs.message_settings import FIELDS, OF_BENEFIT
from configs.named_files import FOLDER, named_file
from configs.offer_texts import PARTS
from configs.offers import Catalogue, Offer, load_catalogue
from configs.segment_files import load_stages
from configs.settings import OFFERS_FILE, Settings
from features.storage.lake import Lake
from models.personas.habits import MOSTLY
from serving.messages.message_texts import MessageTexts, OfferText, message_texts
from serving.messages.template_sandbox import MessageError, MessageTemplate, message_template
from serving.messages.text_choice import words_of_persona
from serving.messages.text_lines import part_line, variant_line
from serving.messages.written_messages import CATEGORY, Occasion, fixed_values
from serving.wording.language_file import Language, load_language

MOST_UNKNOWN = 8  # fields of one text that may be missing: all ways in which some are is 256
LONGEST_DAY = date(2029, 9, 30)
# what is left when somebody forgets a bracket, or names a field as another tool does
LEFT_OVER = re.compile(
    r"\{\{|\}\}|\{%|%\}|\{[a-zA-Z_ ]+\}|\[[A-Z][A-Z_ ]{2,}\]|%[A-Z_]{3,}%|<[A-Z][A-Z_]+>|\b(?:TODO|XXX|LOREM)\b"
)


def check_messages(settings: Settings, catalogue: Catalogue, language: Language) -> MessageTexts:
    """Read the texts of a catalogue, of which every one can be written to anybody; `language` is the app's.

    Raises
    ------
    InputError
        One cannot.
    """
    for fault in text_faults(settings, catalogue, language):
        raise InputError(fault)
    return message_texts(settings, catalogue, language)


def require_texts(settings: Settings, lake: Lake) -> None:
    """Refuse a catalogue with a text that cannot be written; one that the ingest is to write has none yet.

    Raises
    ------
    InputError
        There is no such catalogue, or it has such a text.
    """
    is_of_treatments = Path(settings.offers) == lake.path(OFFERS_FILE)
    if not is_of_treatments or lake.files.exists(OFFERS_FILE):
        check_messages(settings, load_catalogue(settings.offers), load_language(settings.language))


def text_faults(settings: Settings, catalogue: Catalogue, language: Language) -> Iterator[str]:
    """Say everything that is wrong with the texts of a catalogue."""
    try:
        texts = message_texts(settings, catalogue, language)
    except InputError as error:
        yield str(error)
        return
    if not catalogue.offers:  # `none` is no file
        return
    path = _path(settings)
    stages = [rule.name for rule in load_stages(settings.segments.stages)]
    for offer in catalogue.offers:
        for number, text in enumerate(texts.of_offers[offer.offer_id]):
            for part, line, fault in _faults(settings, offer, text, stages):
                place = part_line(path, offer.offer_id, number, part, line)
                yield f"{place}: {part} of offer {shortened(offer.offer_id)!r}{_of(number)}: {fault}"
    every = (_faults_of_variants(settings, offer, texts, stages, path) for offer in catalogue.offers)
    yield from dict.fromkeys(chain.from_iterable(every))  # of a play on several channels once


def _faults_of_variants(
    settings: Settings, offer: Offer, texts: MessageTexts, stages: Sequence[str], path: Path
) -> Iterator[str]:
    """Find the faults of what the variants of an offer say."""
    play = offer.play_id or offer.offer_id
    known = [fault for text in texts.of_offers[offer.offer_id] for fault in _faults(settings, offer, text, stages)]
    for number, variant in enumerate(offer.running.variants if offer.running is not None else (), 1):
        for text in texts.of_variants.get((offer.offer_id, variant.name), ()):
            for part, line, fault in _faults(settings, offer, text, stages):
                if (part, line, fault) not in known:
                    place = variant_line(path, play, number, part, line)
                    yield f"{place}: {part} of variant {variant.name!r} of {shortened(play)!r}: {fault}"


def _path(settings: Settings) -> Path:
    return named_file(settings.offers, FOLDER / "offers", ".toml", "offer catalogue")


def _of(number: int) -> str:
    return f", text {number}" if number else ""


def _faults(settings: Settings, offer: Offer, text: OfferText, stages: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """Find the faults of a text: in which part, in which line of it, and what it is."""
    readers = text.text.readers
    if readers.stage is not None and readers.stage not in stages:
        yield "stage", 1, f"there is no stage {readers.stage!r}; {did_you_mean(readers.stage, stages)}"
    for word in words_of_persona(readers.persona):
        if word not in text.words.personas and not word.startswith(MOSTLY):
            yield "persona", 1, f"no persona is called {word!r}; {did_you_mean(word, text.words.personas)}"
    if text.text.subject and not text.channel.subject and offer.offer_id == (offer.play_id or offer.offer_id):
        yield "subject", 1, f"the channel {offer.channel!r} shows no subject; leave it out"
    for part in PARTS:
        written = getattr(text.text, part)
        if written is not None and (part != "subject" or text.channel.subject):
            try:
                _check_part(settings, offer, text, part, written)
            except MessageError as fault:
                yield part, fault.line, str(fault)


def _check_part(settings: Settings, offer: Offer, text: OfferText, part: str, written: str) -> None:
    """Refuse a part that names what there is not, may say nothing, or is too long.

    Raises
    ------
    MessageError
        It does.
    """
    template = message_template(written, is_html=text.channel.is_html and part != "subject")
    known = known_fields(settings, offer)
    for name in template.fields:
        if name not in known:
            raise MessageError(_unknown(name, offer, known), _line_of(written, name))
    if found := LEFT_OVER.search(template.filled(dict.fromkeys(template.fields, "1"))):
        raise MessageError(
            f"{found[0]!r} is left over; write a field as {{{{ category }}}}", _line_of(written, found[0])
        )
    for level in _levels_of(text, offer, part):
        occasion = Occasion(offer.offer_id, level, offer.max_cost, LONGEST_DAY, settings.currency)
        values = fixed_values(text, text.locale, occasion) | {CATEGORY: text.words.values["selected_items"]}
        _check_missing(template, values, written)
        _check_limit(template, values, part)
        _check_length(template, values, text, part)


def known_fields(settings: Settings, offer: Offer) -> dict[str, str]:
    """Fields that texts of an offer may use, with what each says."""
    own = {name: f"your own, of the column {column}" for name, column in settings.messages.fields.items()}
    left_out = {"discount"} if offer.benefit != "percent" else set()
    left_out |= {"benefit"} if offer.benefit == "none" else set()
    left_out |= {"max_cost"} if offer.max_cost is None else set()
    return {name: meaning for name, meaning in {**own, **FIELDS}.items() if name not in left_out}


def _unknown(name: str, offer: Offer, known: dict[str, str]) -> str:
    if name == "discount":
        return f"discount is a percentage; a message of the benefit {offer.benefit} says " + (
            "nothing of what it gives" if offer.benefit == "none" else "{{ benefit }}"
        )
    if name == "benefit":
        return "the benefit none gives nothing that a message could call benefit"
    if name == "max_cost":
        return "a limit must be told and be there: give the offer a max_cost, or leave {{ max_cost }} out"
    return f"{shortened(name)!r} is no field of messages; {did_you_mean(name, known)}"


def _levels_of(text: OfferText, offer: Offer, part: str) -> list[Benefit]:
    """Tell what is given where a part is read."""
    given = [level for level in offer.benefits if level.level]
    nothing = [level for level in offer.benefits if not level.level]
    if part == "plain_message":
        return nothing or [Benefit(offer.benefit, 0.0)]
    return [*given, *([] if part == "message" and text.text.plain_message else nothing)]


def _check_missing(template: MessageTemplate, values: dict[str, str], written: str) -> None:
    """Refuse a template that writes what may not be known of a reader, in whatever of its conditions."""
    varying = [name for name in template.fields if name not in values and name not in OF_BENEFIT]
    if len(varying) > MOST_UNKNOWN:
        raise MessageError(f"it says {len(varying)} things of the reader; take {MOST_UNKNOWN} at most")
    for there in chain.from_iterable(combinations(varying, count) for count in range(len(varying) + 1)):
        try:
            template.filled(values | dict.fromkeys(there, "1"))
        except MessageError as fault:
            raise MessageError(_may_be_missing(fault.field), _line_of(written, fault.field)) from None


def _may_be_missing(name: str) -> str:
    if name in OF_BENEFIT:
        return (
            f"a level of 0 gives nothing that it could call {name}: add a plain_message, or ask "
            f"{{% if {name} %}} ... {{% endif %}}"
        )
    return (
        f"{name} is not known of everybody: ask {{% if {name} %}} ... {{% endif %}}, or write another word: "
        f'{{{{ {name} or "..." }}}}'
    )


def _check_limit(template: MessageTemplate, values: dict[str, str], part: str) -> None:
    """Refuse a message that gives something away up to a limit and does not say so."""
    if part == "message" and "max_cost" in values and "\0" not in template.filled(values | {"max_cost": "\0"}):
        raise MessageError(
            "a limit must be told: max_cost of the offer and {{ max_cost }} in the message belong together"
        )


def _check_length(template: MessageTemplate, values: dict[str, str], text: OfferText, part: str) -> None:
    longest = text.channel.subject if part == "subject" else text.channel.message
    signs = len(template.filled(values))
    if signs > longest:
        raise MessageError(
            f"it has {signs} signs, even without what is said of one user alone, and the channel takes {longest}; "
            "shorten it"
        )


def _line_of(written: str, what: str) -> int:
    return written.count("\n", 0, max(0, written.find(what))) + 1
