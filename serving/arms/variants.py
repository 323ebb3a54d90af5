"""The A/B variant of each user, drawn once by a salted hash and independent of all other draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from configs.offers import Offer
from configs.play_experiments import Experiment, Variant
from features.arrays.array_types import Flags, Places
from models.metrics.splits import hash_share

VARIANT_SALT = "variant"


def drawn_variants(experiment: Experiment, user_ids: pd.Series, seed: int) -> Places:
    """Draw a variant for each user, by its place; shape (users,). The same user draws the same one every day.

    Examples
    --------
    >>> half = [Variant(name="a", share=0.5), Variant(name="b", share=0.5)]
    >>> users = pd.Series([f"u{number}" for number in range(10_000)])
    >>> drawn = drawn_variants(Experiment(name="hour", variants=half), users, seed=1)
    >>> other = drawn_variants(Experiment(name="subject", variants=half), users, seed=1)
    >>> np.bincount(drawn).tolist(), round(float(np.corrcoef(drawn, other)[0, 1]), 2)
    ([4936, 5064], -0.01)
    """
    bounds = np.cumsum([variant.share for variant in experiment.variants])[:-1]
    draw = hash_share(user_ids, f"{VARIANT_SALT} {experiment.name}:{seed}")
    return np.searchsorted(bounds, draw, side="right").astype(np.intp)


def shared_out(
    offer: Offer, user_ids: pd.Series, rows: Places, is_exposed: Flags, seed: int
) -> Iterator[tuple[Variant | None, Places]]:
    """Assign each user with an offer to a variant of its experiment; None where it has none.

    Parameters
    ----------
    user_ids
        Of all users, shape (users,).
    rows
        Of those who are given the offer.
    is_exposed
        Who takes part, shape (users,).
    """
    running = offer.running
    if running is None:
        yield None, rows
        return
    drawn = drawn_variants(running, user_ids.iloc[rows], seed)
    drawn = np.where(is_exposed[rows], drawn, len(running.variants))
    for place, variant in enumerate((*running.variants, None)):
        if len(own := rows[drawn == place]):
            yield variant, own
