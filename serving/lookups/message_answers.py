"""Answers about messages: how often each text is used, how it looks, and whether it could go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import pandas as pd

from configs.counted import counted
from configs.errors import InputError
from configs.message_settings import OF_USER
from configs.offers import NO_OFFER, Catalogue, Offer, load_catalogue
from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import column_names
from features.training_data.user_columns import known_columns, sampled_users
from serving.messages.checked_texts import text_faults
from serving.messages.message_texts import MessageTexts, OfferText, message_texts, unit_of
from serving.messages.reader_details import AGREES, LOCALE, read_details, where_allowed
from serving.messages.written_messages import Occasion, written_text
from serving.stored_days.day_tables import columns_of_day, connect, day_file, decisions_source
from serving.wording.formatting import percent
from serving.wording.language_file import load_language
from serving.wording.locales import locale_of
from serving.wording.rendering import Words

SOME_DAY = date(2029, 9, 30)  # a long one
READERS = 1_000  # of a data folder, for whom every text is written to look at it
MADE_UP: dict[str, tuple[object, ...]] = {
    "category": ("bread", None, "home & garden"), "item": ("a red pot", None, None),
    "first_name": ("Zoë", None, "Maximiliane"), "next_step": ("a profile picture", None, None),
    "streak": (5.0, None, 365.0), "progress": (0.4, None, 0.95), "points": (1250.0, None, 3.0),
}  # fmt: skip


@dataclass(frozen=True)
class TextUse:
    """How often a text of an offer was used on a day, with an example; `longest` is the longest in signs.

    `variant` is the way of the play's experiment that says it, empty where none does.
    """

    offer_id: str
    channel: str
    written_for: str
    language: str
    users: int
    longest: int
    subject: str | None
    message: str
    most: int
    variant: str = ""

    @property
    def readers(self) -> str:
        """Whom it is for, and by which variant it is said."""
        return f"{self.written_for}; {self.variant}" if self.variant else self.written_for


@dataclass(frozen=True)
class TextCheck:
    """What is wrong with texts, what is worth knowing, and how many texts were written to how many readers."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]
    texts: int
    readers: int


def check_texts(settings: Settings, lake: Lake) -> TextCheck:
    """Write every text to users of the data folder, or to made-up ones, and say what is wrong."""
    catalogue, language = load_catalogue(settings.offers), load_language(settings.language)
    faults = tuple(text_faults(settings, catalogue, language))
    if faults:
        return TextCheck(faults, (), 0, 0)
    texts = message_texts(settings, catalogue, language)
    readers, is_real = some_readers(settings, lake, texts)
    notes = [*_unknown_columns(settings, lake, texts), *_too_long(settings, catalogue, texts, readers)]
    notes += _without_text(settings, texts, readers) if is_real else ["there are no users: the readers are made up"]
    return TextCheck((), tuple(notes), sum(map(len, texts.of_offers.values())), len(readers))


def some_readers(settings: Settings, lake: Lake, texts: MessageTexts) -> tuple[pd.DataFrame, bool]:
    """Take users of the data folder with what texts may say of them; where there are none, made-up ones."""
    user_ids = sampled_users(lake, READERS)
    if user_ids.empty:
        own = {name: ("x", None, "y") for name in settings.messages.fields if name not in OF_USER}
        return pd.DataFrame({**MADE_UP, **own, LOCALE: ("en_US", None, "de_AT")}, dtype=object), False
    found = read_details(settings, lake, user_ids, texts.fields, np.zeros(len(user_ids), dtype=np.intp)).of(user_ids)
    turn, agrees = np.arange(len(found)) % 3, found[AGREES].to_numpy()
    goods = {name: where_allowed(agrees, np.array(MADE_UP[name], dtype=object)[turn]) for name in ("category", "item")}
    return found.assign(**goods), True


def _unknown_columns(settings: Settings, lake: Lake, texts: MessageTexts) -> Iterator[str]:
    """Say which fields no column tells, so that texts never say them."""
    features = {feature.name for feature in declarations_of(settings).catalogue()}
    known = features | set(known_columns(lake))
    for name, column in settings.messages.fields.items():
        if name in texts.fields and column not in known:
            yield f"nobody's {name} is known: no column {column} in users or snapshots (messages.fields.{name})"


def _too_long(settings: Settings, catalogue: Catalogue, texts: MessageTexts, readers: pd.DataFrame) -> Iterator[str]:
    """Write every text to every reader; say which lose what is said of one alone, being too long with it."""
    units = {name: unit_of(column, {}) for name, column in settings.messages.fields.items()}
    for offer in catalogue.offers:
        occasion = Occasion(offer.offer_id, offer.benefits[-1], offer.max_cost, SOME_DAY, settings.currency)
        for text in texts.of_offers[offer.offer_id]:
            written, full = (
                written_text(text, text.locale, occasion, readers, units, is_fitted=is_fitted)[1]
                for is_fitted in (True, False)
            )
            cut = np.flatnonzero(written != full)
            if len(cut):
                yield (
                    f"the text of {offer.offer_id} for {text.text.readers} is too long for {len(cut):,} of "
                    f"{len(readers):,} readers ({max(map(len, full[cut]))} signs of {text.channel.message}): "
                    "they get it without what is said of them alone"
                )


def _without_text(settings: Settings, texts: MessageTexts, readers: pd.DataFrame) -> Iterator[str]:
    """Say which languages of readers have no text anywhere, so that they get another language's."""
    spoken = {text.written.locale.language for own in texts.of_offers.values() for text in own}
    read = readers[LOCALE].map(lambda tag: getattr(locale_of(tag), "language", None)).value_counts()
    for language, users in read.items():
        if language not in spoken:
            share = f"{percent(users / len(readers))} of the users read {language!r}"
            yield f"{share}, in which there is no text: they get {settings.language!r}"


def text_uses(settings: Settings, lake: Lake, day: date) -> list[TextUse]:
    """Count how often each text was used on a day, most often first; texts that nobody got come last."""
    source = f"{decisions_source(lake, day)} WHERE offer_id <> {sql_text(NO_OFFER)}"
    if "written_for" not in column_names(day_file(lake, day, "decisions")):
        raise InputError(
            f"the decisions of {day} in {lake.root} do not say which texts they use, as an older winback made them; "
            f"run winback score-users --as-of {day}, which makes them anew (with --supersede REASON)"
        )
    has_variants = "variant" in columns_of_day(lake, day, "decisions")
    variant = "coalesce(variant, '')" if has_variants else "''"
    with connect(lake) as connection:
        rows = connection.execute(f"""
            SELECT offer_id, channel, coalesce(written_for, ''), coalesce(language, ''), {variant}, count(*),
                max(length(message)), first(subject ORDER BY user_id), first(message ORDER BY user_id)
            FROM {source} GROUP BY ALL ORDER BY count(*) DESC, 1, 3, 4, 2, 5
        """).fetchall()
    names = ("offer_id", "channel", "written_for", "language", "variant", "users", "longest", "subject", "message")
    told = [dict(zip(names, row, strict=True)) for row in rows]
    used = [TextUse(**row, most=settings.messages.of_channel(row["channel"]).message) for row in told]
    return [*used, *_unused(settings, {_key(each) for each in used})]


def _key(use: TextUse) -> tuple[str, ...]:
    return use.offer_id, use.variant, use.written_for, use.language


def _unused(settings: Settings, used: set[tuple[str, ...]]) -> Iterator[TextUse]:
    """Write the texts that nobody got, to a made-up reader; those of an experiment by each of its variants."""
    catalogue = load_catalogue(settings.offers)
    texts = message_texts(settings, catalogue, load_language(settings.language))
    for offer in catalogue.offers:
        variants = [variant.name for variant in offer.running.variants] if offer.running is not None else [""]
        for variant in variants:
            for text in texts.said_by(offer.offer_id, variant):
                use = _made_up(settings, offer, text, variant)
                if _key(use) not in used:
                    yield use


def _made_up(settings: Settings, offer: Offer, text: OfferText, variant: str) -> TextUse:
    """Write a text to a made-up reader."""
    reader = pd.DataFrame({name: values[:1] for name, values in MADE_UP.items()}, dtype=object)
    occasion = Occasion(offer.offer_id, offer.benefits[-1], offer.max_cost, SOME_DAY, settings.currency)
    subject, message = written_text(text, text.locale, occasion, reader, {})
    return TextUse(
        offer.offer_id, offer.channel, str(text.text.readers), text.tag, 0, len(message[0]), subject[0], message[0],
        text.channel.message, variant,
    )  # fmt: skip


def use_lines(day: date, uses: Sequence[TextUse], words: Words) -> Iterator[str]:
    """Write how often each text was used as a page."""
    yield f"texts on {day}: {counted(sum(each.users for each in uses), 'message')}"
    titles = {each.offer_id: words.titles.get(each.offer_id, each.offer_id) for each in uses}
    width = max(map(len, titles.values()), default=5)
    reads = max((len(each.readers) for each in uses), default=3)
    yield f"{'users':>9}  {'offer':<{width}}  {'channel':<8}  {'written for':<{max(reads, 11)}}  {'in':<5}  signs"
    for each in uses:
        title, channel = titles[each.offer_id], words.term(each.channel)
        where = f"{title:<{width}}  {channel:<8}  {each.readers:<{max(reads, 11)}}  {each.language:<5}"
        yield f"{each.users:>9,}  {where}  {each.longest} of {each.most}"
        yield f"{'':>9}  {'' if each.users else 'nobody; it would say: '}{_example(each)}"


def _example(use: TextUse) -> str:
    return " | ".join(filter(None, (use.subject, use.message)))


def check_lines(text_check: TextCheck) -> Iterator[str]:
    """Write what was found wrong with texts as a page."""
    if text_check.faults:
        yield f"{counted(len(text_check.faults), 'text')} cannot be written"
    else:
        yield f"{text_check.texts:,} texts, each written to {text_check.readers:,} readers: all can be written"
    yield from (f"wrong: {each}" for each in text_check.faults)
    yield from (f"note: {each}" for each in text_check.notes)


def facts_of(text_check: TextCheck) -> dict[str, object]:
    """Give what was found wrong to machines."""
    return {"command": "messages", **asdict(text_check)}
