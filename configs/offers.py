"""The catalogue of offers: what may be given, at which discounts, and what a contact costs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from configs.benefits import (
    COUNTED,
    FEATURED,
    MOST_LEVEL,
    ORDER,
    Benefit,
    BenefitKind,
    share_of_price,
    window_of,
)
from configs.channel_names import channel_names
from configs.errors import InputError, did_you_mean
from configs.named_files import FOLDER, is_file, named_file, read_toml
from configs.offer_texts import Texts
from configs.play_experiments import EXPERIMENT, Experiment, experiment_of
from configs.plays import RECOVER, Play, expanded
from configs.section import Days, Money, Section, Share, Word
from configs.settings import OFFERS_FILE
from configs.validated_model import validated

NO_OFFER = "none"  # the id of *nothing* where offers are named
POLICIES = ("nobody", "personal", "personal relearnt", "champion", "top risk", "best constant, cross-fitted")
STARTING_POINT = "example"  # the catalogue of a profile that names none
NOTHING = -1  # its place where options are numbered


class Option(NamedTuple):
    """One thing that can be decided: an offer of the catalogue at one of its levels, as the discount it amounts to."""

    offer_id: str
    discount: float


class Offer(Texts, Play):
    """One thing that can be given; with each of its levels it makes one option.

    A level is a share of the price where the benefit is ``percent`` (`discounts`), account currency, days or points
    where it is another (`levels`); `shares` are the shares of `covered_spend` that they amount to.
    """

    offer_id: Word = Field(description="name, equal to `offer_id` of the treatments")
    title: str = Field(description="what people read")
    play: str = Field(description="the kind of message this offer is part of")
    channel: Word = Field(description="how it reaches the user")
    benefit: BenefitKind = Field(
        "percent", description="what is given: percent, amount, free_days, points, shipping or none"
    )
    discounts: tuple[Share, ...] = Field((), min_length=1, description="levels of percent: shares of the price")
    levels: tuple[Annotated[float, Field(gt=0, le=MOST_LEVEL)], ...] = Field(
        (), min_length=1, description="levels of other benefits: account currency, days or points"
    )
    unit_cost: Money = Field(0.0, description="what one free day or one point costs you, account currency")
    valid_days: Days = Field(description="days in which it can be redeemed")
    contact_cost: Money = Field(description="cost of one contact, account currency")
    covered_spend: Money = Field(
        gt=0, description="spend that the discount applies to where nothing tells a user's own, account currency"
    )
    scope: Word = Field(
        ORDER,
        description="what it covers: order (one), featured_category (the user's favourite, while the offer is valid) "
        "or a column of money over a window of days, such as spend_sum_90d",
    )
    max_cost: Money | None = Field(
        None, gt=0, description="most that one redemption may give away, account currency; unset means no limit"
    )
    stock: int | None = Field(
        None, ge=0, le=10**15, description="most users that may get it in one day; unset means no limit"
    )
    total_stock: int | None = Field(
        None, ge=0, le=10**15, description="most times that it may be given on all days together; unset means no limit"
    )
    experiment: Experiment | None = Field(None, description="variants that are compared: [PLAY.experiment]")

    @field_validator("discounts", "levels")
    @classmethod
    def _levels_rise(cls, levels: tuple[float, ...], about: ValidationInfo) -> tuple[float, ...]:
        if list(levels) != sorted(set(levels)):
            raise ValueError(f"{about.field_name} must rise without repeats")
        return levels

    @field_validator("channel")
    @classmethod
    def _channel_is_one_that_consents_can_name(cls, channel: str) -> str:
        if not channel_names(channel):
            raise ValueError(f"{channel!r} has no letter, so that no consent can name it; write email, push or in_app")
        return channel

    @field_validator("scope")
    @classmethod
    def _scope_is_known(cls, scope: str) -> str:
        if scope not in (ORDER, FEATURED) and window_of(scope) is None:
            raise ValueError(
                f"a scope is {ORDER}, {FEATURED} or a column of money over a window of days, such as spend_sum_90d"
            )
        return scope

    @model_validator(mode="after")
    def _levels_are_those_of_the_benefit(self) -> Offer:
        wanted = {"percent": "discounts", "none": None}.get(self.benefit, "levels")
        for name in ("discounts", "levels"):
            if bool(getattr(self, name)) != (name == wanted):
                verb = "needs" if name == wanted else "has no"
                raise ValueError(f"the benefit {self.benefit} {verb} {name}")
        if self.benefit in COUNTED and not self.unit_cost:
            raise ValueError(f"the benefit {self.benefit} needs unit_cost, what one of them costs you")
        if max(self.shares) > 1:
            raise ValueError(
                f"its highest level is worth more than covered_spend = {self.covered_spend:g}, which earns it"
            )
        return self

    @model_validator(mode="after")
    def _gives_no_reward_for_what_went_wrong(self) -> Offer:
        if self.benefit != "none" and (self.aim == RECOVER or not self.is_marketing):
            what = "the aim recover" if self.aim == RECOVER else f"the class {self.send_class}"
            raise ValueError(f'{what} gives nothing but a message; write benefit = "none"')
        if not self.is_marketing and not self.is_for_some:
            raise ValueError(f"the class {self.send_class} goes to everybody for whom it is meant; say when or fact")
        if not self.is_marketing and (self.stock, self.total_stock) != (None, None):
            raise ValueError(f"the class {self.send_class} goes to everybody for whom it is meant, so it has no stock")
        return self

    def title_in(self, language: str) -> str:
        """Name it for readers of a language, such as ``de``."""
        own = (each.title for each in self.texts if each.readers == (language, None, None))
        return next((title for title in own if title), self.title)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the covered spend that each level amounts to, rising."""
        if self.benefit in ("percent", "none"):
            return self.discounts or (0.0,)
        return tuple(share_of_price(self.benefit, each, self.covered_spend, self.unit_cost) for each in self.levels)

    @property
    def running(self) -> Experiment | None:
        """The experiment whose variants users draw; None where there is none, or it has ended."""
        return self.experiment if self.experiment is not None and self.experiment.is_running else None

    @property
    def benefits(self) -> tuple[Benefit, ...]:
        """What each level gives, in the order of `shares`."""
        return tuple(Benefit(self.benefit, level) for level in self.discounts or self.levels or (0.0,))


class Catalogue(Section):
    """All offers of an app."""

    offers: tuple[Offer, ...]

    def __getitem__(self, offer_id: str) -> Offer:
        """Look an offer up by its id; an unknown one is an `InputError`."""
        offers = {offer.offer_id: offer for offer in self.offers}
        if offer_id not in offers:
            raise InputError(f"offer {offer_id!r} is not in the catalogue; {did_you_mean(offer_id, offers)}")
        return offers[offer_id]

    @property
    def plays(self) -> dict[str, list[Offer]]:
        """Offers of each play, by its table in the catalogue."""
        plays: dict[str, list[Offer]] = {}
        for offer in self.offers:
            plays.setdefault(offer.play_id or offer.offer_id, []).append(offer)
        return plays

    @property
    def experiments(self) -> dict[str, list[Offer]]:
        """Offers of each experiment, by its name."""
        found: dict[str, list[Offer]] = {}
        for offer in self.offers:
            if offer.experiment is not None:
                found.setdefault(offer.experiment.name, []).append(offer)
        return found

    @property
    def titles(self) -> dict[str, str]:
        """What people call each offer, by its id."""
        return {offer.offer_id: offer.title for offer in self.offers}

    def titles_in(self, language: str) -> dict[str, str]:
        """Name each offer for readers of a language: as its text for all of them does, else by its own title."""
        return {offer.offer_id: offer.title_in(language) for offer in self.offers}

    @property
    def options(self) -> list[Option]:
        """Every option that can be decided, in catalogue order."""
        return [Option(offer.offer_id, share) for offer in self.offers for share in offer.shares]

    @property
    def offer_of_options(self) -> list[Offer]:
        """Offer of each of `options`."""
        return [offer for offer in self.offers for _ in offer.shares]

    @property
    def benefits(self) -> list[Benefit]:
        """What each of `options` gives."""
        return [benefit for offer in self.offers for benefit in offer.benefits]


def is_policy(offer_id: str) -> bool:
    """Tell whether an offer bears the name of a policy, beside which it would be read as that policy.

    Examples
    --------
    >>> is_policy("Top_risk"), is_policy("top risks")
    (True, False)
    """
    return plain_name(offer_id) in map(plain_name, POLICIES)


def plain_name(name: str) -> str:
    """Write a name as metrics and files do, in small letters.

    Examples
    --------
    >>> plain_name("Best constant, cross-fitted")
    'best_constant_cross_fitted'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def load_catalogue(name: str) -> Catalogue:
    """Read ``configs/offers/<name>.toml``, or the TOML file at a path; ``none`` is the empty catalogue.

    Raises
    ------
    InputError
        The file is missing, an offer has an unknown key or a value out of range.
    """
    if name == NO_OFFER:
        return Catalogue(offers=())
    if Path(name).name == OFFERS_FILE and not is_file(Path(name)):
        raise InputError(f"{name} is written by winback ingest from the treatments; run that first")
    path = named_file(name, FOLDER / "offers", ".toml", "offer catalogue")
    tables = read_toml(path)
    language = {"language": tables.pop("language")} if isinstance(tables.get("language"), str) else {}
    return Catalogue(offers=tuple(_offers(tables, path, language)))


def _offers(tables: dict[str, object], path: Path, shared: dict[str, object]) -> list[Offer]:
    text, offers = path.read_text(encoding="utf-8-sig"), list[Offer]()
    for name, table in tables.items():
        if name == NO_OFFER or not isinstance(table, dict):
            raise InputError(
                f"[{name}] in {path} is not an offer; write one table per offer, named other than {NO_OFFER!r}"
            )
        if is_policy(name):
            raise InputError(
                f"[{name}] in {path} bears the name of a policy, beside which it is evaluated; name it other than "
                f"{', '.join(POLICIES)}"
            )
        own: dict[str, object] = {"play_id": name, "rule_file": path, "rule_text": text}
        made = expanded(name, table, str(path))
        if EXPERIMENT in table:
            channels = [str(fields.get("channel")) for _, fields in made]
            own[EXPERIMENT] = experiment_of(name, table[EXPERIMENT], channels, path, text)
        for offer_id, fields in made:
            where = f"offer {name!r} of {path}"
            offers.append(validated(Offer, {**shared, **fields, "offer_id": offer_id, **own}, where))
    ids = Counter(offer.offer_id for offer in offers)
    if len(ids) < len(offers):
        twice = ids.most_common(1)[0][0]
        raise InputError(f"{path} makes the offer {twice!r} twice, by a table and by channels; rename the table")
    names = {(offer.play_id, offer.experiment.name) for offer in offers if offer.experiment is not None}
    of_plays = Counter(name for _, name in names)
    if of_plays and of_plays.most_common(1)[0][1] > 1:
        twice = of_plays.most_common(1)[0][0]
        raise InputError(
            f"two plays of {path} have an experiment {twice!r}; name each differently, as it seeds its random draws"
        )
    return offers
