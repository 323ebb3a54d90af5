"""The texts of a catalogue with their locales and languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from configs.errors import InputError
from configs.message_settings import ChannelText
from configs.named_files import FOLDER, known_names
from configs.offer_texts import Text
from configs.offers import Catalogue, Offer
from configs.settings import Settings
from features.definitions.registry import Feature, Unit
from serving.messages.template_sandbox import MessageTemplate, message_template
from serving.messages.text_choice import Written
from serving.wording.language_file import Language, load_language
from serving.wording.locales import Locale, required_locale


@dataclass(frozen=True)
class OfferText:
    """One text of an offer: whom it is for, its language, and what else that language says."""

    text: Text
    written: Written
    words: Language
    title: str
    channel: ChannelText
    categories: Mapping[str, str] = field(default_factory=dict)  # what its readers call them, by the display name

    @property
    def tag(self) -> str:
        """Its language, such as ``de`` or ``pt-BR``."""
        return str(self.written.locale).replace("_", "-")

    @property
    def locale(self) -> Locale:
        """How it writes days and numbers to those of whom no country is known."""
        return self.written.locale if self.written.locale.territory else self.words.locale

    def message(self, *, is_given: bool) -> MessageTemplate:
        """Template of the message, of the plain one where nothing is given."""
        plain = None if is_given else self.text.plain_message
        return message_template(plain or self.text.message, is_html=self.channel.is_html)

    @property
    def subject(self) -> MessageTemplate | None:
        """Template of the subject, where the channel shows one."""
        return message_template(self.text.subject) if self.text.subject and self.channel.subject else None


@dataclass(frozen=True)
class MessageTexts:
    """The texts of every offer, the own one of each first; ``app`` is the locale of those whose language is unknown.

    `of_variants` has those of the variants of its experiment that say anything of their own, by offer and variant.
    """

    of_offers: dict[str, tuple[OfferText, ...]]
    app: Locale
    of_variants: Mapping[tuple[str, str], tuple[OfferText, ...]] = field(default_factory=dict)

    def said_by(self, offer_id: str, variant: str | None) -> tuple[OfferText, ...]:
        """Texts of an offer as a variant says them."""
        return self.of_variants.get((offer_id, variant or ""), self.of_offers[offer_id])

    @property
    def fields(self) -> set[str]:
        """Fields that some text uses."""
        every = [text for texts in (*self.of_offers.values(), *self.of_variants.values()) for text in texts]
        templates = [each.message(is_given=is_given) for each in every for is_given in (True, False)]
        templates += [each.subject for each in every if each.subject is not None]
        return {name for template in templates for name in template.fields}


def message_texts(settings: Settings, catalogue: Catalogue, language: Language) -> MessageTexts:
    """Read the texts of a catalogue; `language` is the app's.

    Raises
    ------
    InputError
        A text is in a language of which winback knows no words.
    """
    words = {language.locale.language: language}

    def written(offer: Offer, texts: Sequence[Text]) -> tuple[OfferText, ...]:
        return tuple(_texts_of(settings, offer, texts, language, words))

    of_variants = {
        (offer.offer_id, variant.name): written(offer, variant.texts_of(offer.all_texts, offer.language))
        for offer in catalogue.offers
        for variant in (offer.running.variants if offer.running is not None else ())
        if variant.says
    }
    of_offers = {offer.offer_id: written(offer, offer.all_texts) for offer in catalogue.offers}
    return MessageTexts(of_offers, language.locale, of_variants)


def _texts_of(
    settings: Settings, offer: Offer, said: Sequence[Text], app: Language, words: dict[str, Language]
) -> list[OfferText]:
    channel, texts = settings.messages.of_channel(offer.channel), []
    for text in said:
        tag = text.language or offer.language
        where = f"a text of offer {offer.offer_id!r}"
        locale = required_locale(tag or app.locale.language, where)
        if locale.language not in words:
            words[locale.language] = _words(locale, where)
        own = words[locale.language]
        categories = settings.categories.names_in.get(locale.language, {})
        title = text.title or offer.title
        texts.append(OfferText(text, Written(text.readers, locale), own, title, channel, categories))
    return texts


def _words(locale: Locale, where: str) -> Language:
    """Read what a language says beside the texts of offers: "selected items", "free days"."""
    names = [str(locale).replace("_", "-"), locale.language]
    known = known_names(FOLDER / "languages", ".toml")
    found = next((name for name in names if name in known), None)
    if found is None:
        raise InputError(
            f"{where} is in {names[0]!r}, of which there are no words: write configs/languages/{names[-1]}.toml "
            f"(known are: {', '.join(known)})"
        )
    return load_language(found)


def unit_of(column: str, features: Mapping[str, Feature]) -> Unit:
    """Say what a column counts that a message speaks of: as declared, else a name that ends in ``_share`` is a share.

    Examples
    --------
    >>> unit_of("course_share", {}), unit_of("loyalty_points", {})
    ('share', 'own')
    """
    if column in features:
        return features[column].unit
    return "share" if column.endswith("_share") else "own"
