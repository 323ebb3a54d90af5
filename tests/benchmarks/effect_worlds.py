"""Worlds whose effects are known: experiments of any size to learn from, and fresh users to be judged on.

Each world draws users who show of themselves what a snapshot would show, with the noise of counts, and gives them its
options at random in weekly waves. What an option changes follows from traits that no column holds, through thresholds,
products and chances; none of it is linear in the columns, in their logarithms or in that of the discount.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd

from configs.offers import NO_OFFER, Option
from configs.settings import Settings, load_settings
from features.arrays.array_types import Floats, Places

LAST_WAVE = date(2024, 6, 3)
WAVES, TREATED = 4, 0.39  # 20,000 users make 31,000 treatments
GROSS_MARGIN, TAIL = 0.5, 0.8  # TAIL: log standard deviation of what an order is worth around a user's own


class Action(NamedTuple):
    """An option of a world, how it reaches users and what one contact costs."""

    offer_id: str
    discount: float
    channel: str
    contact: float


@dataclass(frozen=True)
class Crowd:
    """Users: what is known of them, and the truth, each (users,) or (users, options), in account currency.

    `margin` and `retention` are what an option changes against nothing, `cost` what it is expected to cost; `usual`
    is the margin and `stays` the chance to stay under nothing, `order` what an order is worth, `worth` what staying is.
    """

    frame: pd.DataFrame
    margin: Floats
    retention: Floats
    cost: Floats
    usual: Floats
    stays: Floats
    order: Floats
    worth: Floats

    @property
    def value(self) -> Floats:
        """Expected worth of every option; (users, options)."""
        return self.margin + self.retention * self.worth[:, None] - self.cost


@dataclass(frozen=True)
class EffectWorld:
    """A world: its menu, its users, and how much of the treated mass a budget pays for (`budget` a head)."""

    name: str
    actions: tuple[Action, ...]
    crowd: Callable[[int, np.random.Generator, tuple[Action, ...]], Crowd]
    budget: float
    strength: float = 1.0

    @property
    def options(self) -> tuple[Option, ...]:
        """What a catalogue would call options."""
        return tuple(Option(each.offer_id, each.discount) for each in self.actions)

    @property
    def channels(self) -> dict[str, str]:
        """Channel of each offer."""
        return {each.offer_id: each.channel for each in self.actions}

    def people(self, users: int, rng: np.random.Generator) -> Crowd:
        """Draw users; `strength` scales what options change, not what they cost."""
        drawn = self.crowd(users, rng, self.actions)
        return replace(drawn, margin=self.strength * drawn.margin, retention=self.strength * drawn.retention)

    def experiment(self, users: int, rng: np.random.Generator) -> pd.DataFrame:
        """Give the options at random for `WAVES` weeks; the rows are those of `frames.experiment_frame`."""
        drawn = self.people(users, rng)
        parts = [self.wave(drawn, LAST_WAVE - timedelta(weeks=back), rng) for back in reversed(range(WAVES))]
        return pd.concat(parts, ignore_index=True)

    def wave(self, crowd: Crowd, day: date, rng: np.random.Generator) -> pd.DataFrame:
        """Give the options at random on a day."""
        users, options = len(crowd.frame), len(self.actions)
        each = TREATED / options
        drawn = np.where(rng.random(users) < TREATED, 1 + rng.integers(0, options, users), 0)
        return self.lived(crowd, day, drawn, np.where(drawn > 0, each, 1 - TREATED), rng)

    def lived(
        self, crowd: Crowd, day: date, drawn: Places, propensity: Floats, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Say what became of users who drew *nothing* (0) or an option (from 1 on) on a day."""
        users, every = len(crowd.frame), np.arange(len(crowd.frame))
        margin, retention = (np.c_[np.zeros(users), part][every, drawn] for part in (crowd.margin, crowd.retention))
        cost = np.c_[np.zeros(users), crowd.cost][every, drawn]
        orders = np.maximum(crowd.usual + margin, 0.0) / (GROSS_MARGIN * crowd.order)
        noise = rng.lognormal(-(TAIL**2) / 2, TAIL, users)
        discount = np.r_[0.0, [each.discount for each in self.actions]][drawn]
        contact = np.r_[0.0, [each.contact for each in self.actions]][drawn]
        price = discount * crowd.order
        p_redeem = np.divide(cost - contact, price, out=np.zeros(users), where=price > 0)
        redeemed = rng.random(users) < p_redeem
        return crowd.frame.assign(
            day=day,
            offer_id=np.array([NO_OFFER, *(each.offer_id for each in self.actions)], dtype=object)[drawn],
            discount=discount,
            propensity=propensity,
            margin_soon=GROSS_MARGIN * rng.poisson(orders) * crowd.order * noise,
            is_retained=(rng.random(users) < np.clip(crowd.stays + retention, 0, 1)).astype(float),
            is_redeemed=redeemed.astype(float),
            discount_given=np.where(redeemed, price, 0.0),
        )


def settings_of(world: EffectWorld, seed: int) -> Settings:
    """Settings of an app that counts opened messages per channel."""
    custom = {
        f"{channel}_{what}": {
            "meaning": f"Messages by {channel} {what}",
            "role": f"message_{what}",
            "where": (f'channel = "{channel}"',),
            "measure": "count",
            "windows": (90,),
            "view": "contact",
        }
        for channel in sorted(set(world.channels.values()))
        for what in ("sent", "opened")
    }
    return load_settings(seed=seed, features={"custom": custom})


@dataclass(frozen=True)
class _Traits:
    """What users are and never say; each (users,), `listens` (users, channels)."""

    pace: Floats
    order: Floats
    deal: Floats
    listens: Floats
    overdue: Floats
    tenure: Floats
    pressure: Floats


def _traits(users: int, rng: np.random.Generator, channels: int) -> _Traits:
    return _Traits(
        pace=rng.gamma(1.4, 0.9, users) + 0.05,
        order=rng.lognormal(3.0, 0.8, users),
        deal=rng.beta(0.6, 1.2, users),
        listens=rng.beta(0.5, 0.9, (users, channels)),
        overdue=rng.lognormal(0.1, 0.9, users),
        tenure=np.floor(rng.exponential(260, users)) + 5,
        pressure=rng.gamma(1.5, 2.0, users),
    )


def _observed(traits: _Traits, channels: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """What a snapshot shows of such users."""
    users = len(traits.pace)
    gap = np.clip(28 / traits.pace, 1, 120)
    seen = np.minimum(traits.tenure, 90.0)
    orders = rng.poisson(traits.pace * seen / 28 / np.maximum(traits.overdue, 1) ** 0.5)
    recent = rng.binomial(orders, 0.33 / np.maximum(traits.overdue, 1) ** 0.7)
    items = orders + rng.poisson(1.5 * orders)
    cheap = rng.binomial(items, np.clip(traits.deal, 0, 1))
    depth = rng.beta(2 + 3 * traits.deal, 8, users)
    spend = orders * traits.order * rng.lognormal(-0.05, 0.3, users)
    share = np.where(items > 0, depth * cheap / np.maximum(items, 1), np.nan)
    sent = rng.poisson(traits.pressure[:, None] * 3.0 / len(channels), (users, len(channels)))
    opened = rng.binomial(sent, traits.listens)
    by_channel = {f"{name}_sent_count_90d": sent[:, place] for place, name in enumerate(channels)}
    by_channel |= {f"{name}_opened_count_90d": opened[:, place] for place, name in enumerate(channels)}
    columns = {
        "days_since_last_activity": np.floor(gap * traits.overdue) + 1,
        "active_days_count_28d": rng.poisson(2 * recent + 0.2),
        "active_days_count_90d": orders + rng.poisson(orders + 0.3),
        "sessions_count_365d": rng.poisson(traits.pace * 20),
        "overdue_ratio_365d": np.where(orders > 1, traits.overdue * rng.lognormal(0, 0.15, users), np.nan),
        "tenure_days": traits.tenure,
        "spend_sum_28d": recent * traits.order,
        "spend_sum_90d": spend,
        "order_value_mean_365d": np.where(orders > 0, traits.order * rng.lognormal(0, 0.2, users), np.nan),
        "purchases_count_90d": orders,
        "discount_share_90d": share,
        "discounted_items_count_90d": cheap,
        "items_count_90d": items,
        "messages_sent_count_7d": rng.poisson(sent.sum(axis=1) / 13),
        "messages_sent_count_90d": sent.sum(axis=1),
        "messages_opened_count_90d": opened.sum(axis=1),
        "open_share_90d": np.where(sent.sum(axis=1) > 0, opened.sum(axis=1) / np.maximum(sent.sum(axis=1), 1), np.nan),
        "spend_trend_28d": np.where(orders > 0, 3.2 * recent / np.maximum(orders, 1), np.nan),
        **by_channel,
    }
    frame = pd.DataFrame({name: np.asarray(column, dtype=np.float64) for name, column in columns.items()})
    return frame.assign(user_id=[f"u{place:06d}" for place in range(users)])


def _sigmoid(score: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-score)))


def _menu(actions: tuple[Action, ...]) -> tuple[list[str], np.ndarray, Floats, Floats]:
    channels = list(dict.fromkeys(each.channel for each in actions))
    at = np.array([channels.index(each.channel) for each in actions])
    return channels, at, np.array([each.discount for each in actions]), np.array([each.contact for each in actions])


def _shop(users: int, rng: np.random.Generator, actions: tuple[Action, ...], *, alike: float = 0.0) -> Crowd:
    """Who responds: listens to the channel x how deep the discount x how deal-prone x how late against their rhythm.

    With `alike` above 0 the first option is that much of an order better for everybody.
    """
    channels, at, discount, contact = _menu(actions)
    who = _traits(users, rng, len(channels))
    depth = 1 - np.exp(-discount / 0.12)
    hears = who.listens[:, at] ** 0.7 * np.exp(-((who.pressure[:, None] / 6) ** 2))
    timing = np.exp(-((np.log(who.overdue) - 0.5) ** 2) / 0.6)
    stage = np.where(who.tenure < 45, 1.5, np.where(who.overdue > 5, 0.15, 1.0))
    wants = 0.02 + 1.5 * depth * (who.deal[:, None] > 0.25) * who.deal[:, None]
    comes = np.clip(hears * (timing * stage)[:, None] * wants, 0, 0.9)
    annoyed = 0.05 * (who.pressure > 6)[:, None] * (1 - who.listens[:, at])
    comes[:, 0] += alike
    usual = GROSS_MARGIN * who.order * who.pace * np.minimum(1.0, 1.3 / np.maximum(who.overdue, 0.3)) * 0.9
    p_buys = np.minimum(usual / (GROSS_MARGIN * who.order), 0.95)
    risk = _sigmoid(-1.6 + 1.3 * np.log(who.overdue) - 0.5 * np.log(who.pace))
    kept = risk[:, None] - risk[:, None] ** (1 + 2.5 * comes) - risk[:, None] * (1 - risk[:, None]) * annoyed
    p_redeem = np.clip(who.listens[:, at] ** 0.5 * p_buys[:, None] * (0.03 + 0.15 * who.deal[:, None]) + comes, 0, 1)
    cost = (discount > 0) * p_redeem * discount * who.order[:, None] + contact
    margin = GROSS_MARGIN * who.order[:, None] * (1.4 * comes - annoyed * p_buys[:, None])
    frame, worth = _observed(who, channels, rng), 2.0 * usual + 0.3 * who.order
    return Crowd(frame, margin, kept, cost, usual, 1 - risk, who.order, worth)


def _subscription(users: int, rng: np.random.Generator, actions: tuple[Action, ...]) -> Crowd:
    """A contract: reasons to leave differ, each option answers one; who has forgotten is best left alone."""
    channels, at, discount, contact = _menu(actions)
    who = _traits(users, rng, len(channels))
    plan = rng.choice(3, users, p=[0.5, 0.35, 0.15])
    price = np.array([8.0, 15.0, 30.0])[plan]
    sleeps = who.overdue > 4
    poor = who.deal * np.array([1.3, 0.9, 0.3])[plan]
    lost = (who.tenure < 75) * 0.8 + 0.4 * (who.pace < 0.4)
    hazard = np.clip(0.05 + 0.25 * poor**2 + 0.3 * lost + 0.1 * np.tanh(who.overdue / 2), 0.01, 1.5)
    depth = np.sqrt(discount)
    helps = np.array([each.offer_id == "guide" for each in actions])
    answers = np.where(helps, 1.0 * np.minimum(lost, 1)[:, None], 3.5 * depth * poor[:, None] ** 1.5)
    hears = who.listens[:, at] * np.exp(-who.pressure[:, None] / 8)
    shift = np.exp(-answers * hears + 0.5 * sleeps[:, None] * (0.4 + who.listens[:, at]))
    stays = np.exp(-hazard)
    kept = np.exp(-hazard[:, None] * shift) - stays[:, None]
    takes = np.clip(hears * (0.25 + 0.5 * poor[:, None]), 0, 1) * (discount > 0) * 0.7
    cost = takes * discount * price[:, None] + contact
    usual = GROSS_MARGIN * price * stays
    frame = _observed(who, channels, rng).assign(trait_plan=pd.Categorical.from_codes(plan, ["basic", "plus", "pro"]))
    return Crowd(frame, GROSS_MARGIN * price[:, None] * kept, kept, cost, usual, stays, price, 2.2 * price)


def _game(users: int, rng: np.random.Generator, actions: tuple[Action, ...]) -> Crowd:
    """Few pay and some of them very much; a gift brings players back, a price moves payers only, pushes wear out."""
    channels, at, discount, contact = _menu(actions)
    who = _traits(users, rng, len(channels))
    payer = rng.random(users) < 0.15 + 0.2 * who.deal
    order = np.where(payer, rng.lognormal(2.2, 1.1, users), 5.0)
    pace = np.where(payer, who.pace, 0.02)
    risk = _sigmoid(-0.6 + 1.0 * np.log(who.overdue) - 0.6 * np.log(who.pace + 0.1))
    tired = np.maximum(who.pressure - 2.5, 0)
    is_push = np.array([each.channel == "push" for each in actions])
    hears = who.listens[:, at] * np.where(is_push, np.exp(-0.6 * tired)[:, None], 1.0)
    gift = np.array([each.discount == 0 for each in actions])
    fun = np.where(gift, 0.7 * (who.overdue < 3)[:, None] * (1 - who.deal[:, None] / 2), 0.3)
    kept = _sigmoid(np.log(risk / (1 - risk))[:, None] * -1 + 1.5 * hears * fun - 0.12 * is_push * tired[:, None])
    kept = kept - (1 - risk)[:, None]
    sold = hears * payer[:, None] * np.sqrt(who.deal[:, None]) * (discount / (discount + 0.15)) * 1.6
    usual = GROSS_MARGIN * order * pace * (1 - risk)
    p_redeem = np.clip((hears**0.5 * pace[:, None] * 0.15 + sold) * (discount > 0), 0, 1)
    cost = p_redeem * discount * order[:, None] + contact
    shown = replace(who, order=order, pace=np.maximum(pace, 0.02))
    frame = _observed(shown, channels, rng).assign(sessions_count_365d=rng.poisson(who.pace * 60).astype(float))
    frame = frame.assign(active_days_count_28d=rng.poisson(8 * who.pace / (1 + who.overdue)).astype(float))
    return Crowd(frame, GROSS_MARGIN * order[:, None] * sold, kept, cost, usual, 1 - risk, order, 0.6 + 2.5 * usual)


def _dominated(users: int, rng: np.random.Generator, actions: tuple[Action, ...]) -> Crowd:
    return _shop(users, rng, actions, alike=0.05)


SHOP = (
    Action("mail", 0.0, "email", 0.05), Action("mail", 0.1, "email", 0.05), Action("mail", 0.25, "email", 0.05),
    Action("push", 0.0, "push", 0.03), Action("push", 0.15, "push", 0.03),
    Action("text", 0.1, "sms", 0.12), Action("text", 0.3, "sms", 0.12),
)  # fmt: skip
SUBSCRIPTION = (
    Action("guide", 0.0, "push", 0.05), Action("guide_mail", 0.0, "email", 0.05),
    Action("rebate", 0.2, "email", 0.05), Action("rebate", 0.5, "email", 0.05),
    Action("deal", 0.15, "in_app", 0.02), Action("deal", 0.35, "in_app", 0.02),
)  # fmt: skip
GAME = (
    Action("gift", 0.0, "push", 0.02), Action("gift_mail", 0.0, "email", 0.04),
    Action("gems", 0.2, "in_app", 0.02), Action("gems", 0.5, "in_app", 0.02), Action("pack", 0.3, "push", 0.02),
)  # fmt: skip
WORLDS = {
    world.name: world
    for world in (
        EffectWorld("shop", SHOP, _shop, 0.15),
        EffectWorld("subscription", SUBSCRIPTION, _subscription, 0.12),
        EffectWorld("game", GAME, _game, 0.08),
        EffectWorld("third", SHOP, _shop, 0.15, strength=1 / 3),
        EffectWorld("dominant", SHOP, _dominated, 0.15),
        EffectWorld("null", SHOP, _shop, 0.15, strength=0.0),
    )
}
