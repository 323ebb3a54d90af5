"""What is known about how users respond to offers, as the serving step reads it from the registry."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from configs.errors import InputError
from features.lake import Lake
from models.estimators import Estimator
from models.tracking import load


@dataclass(frozen=True)
class KnownEffect:
    """Effect of one offer that decisions use, already pulled to zero by its uncertainty.

    `margin` is account currency and `retention` a probability per treated user over the churn horizon, at the
    `redemption_rate` of those treated; `propensity` tells who is comparable with them.
    """

    margin: float
    retention: float
    redemption_rate: float
    evidence: str
    propensity: Estimator


@dataclass(frozen=True)
class Response:
    """Redemption model, effects and covered spend per offer."""

    redemption: Estimator
    name: str
    effects: dict[str, KnownEffect]
    covered_spend: dict[str, float]


def load_response(lake: Lake) -> Response | None:
    """Read the champion redemption model and the effects learnt with it; None when there is no such model."""
    try:
        champion = load(lake, "redemption")
    except InputError:
        return None
    effects = {}
    for offer_id, effect in champion.notes["effects"].items():
        propensity = load(lake, propensity_subject(offer_id)).estimator
        shrunk = (effect["margin_shrunk"], effect["retention_shrunk"], effect["redemption_rate"])
        effects[offer_id] = KnownEffect(*shrunk, effect["evidence"], propensity)
    return Response(champion.estimator, champion.training.name, effects, champion.notes["covered_spend"])


def propensity_subject(offer_id: str) -> str:
    """Name of the registry's model of who used to get an offer; the registry refuses some signs.

    Examples
    --------
    >>> propensity_subject("10% off: now")
    'propensity-10%25 off%3A now'
    """
    return f"propensity-{quote(offer_id, safe=' ')}"
