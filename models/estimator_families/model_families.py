"""The families of models that the registry can store and read back; a new one is a class and a line here."""

from __future__ import annotations

from typing import Any

from configs.errors import InputError, did_you_mean
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import (
    ConstantEstimator,
    LinearEstimator,
    MultiOutputEstimator,
    ProportionalEstimator,
)
from models.estimator_families.tree_estimators import LightgbmEstimator

FAMILIES: dict[str, type[Estimator]] = {
    "linear": LinearEstimator,
    "constant": ConstantEstimator,
    "proportional": ProportionalEstimator,
    "multi_output": MultiOutputEstimator,
    "lightgbm": LightgbmEstimator,
}


def family_named(name: str) -> type[Estimator]:
    """Find a family by its name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in FAMILIES:
        raise InputError(f"{name!r} is no family of models; {did_you_mean(name, FAMILIES)}; train again")
    return FAMILIES[name]


def description_of(estimator: Estimator) -> dict[str, object]:
    """Write all of a model but its core, for JSON."""
    shape = {"target": estimator.target, "family": estimator.family, "link": estimator.link}
    fitted = {"columns": list(estimator.columns), "slope": estimator.slope, "intercept": estimator.intercept}
    return {**shape, **fitted}


def described_estimator(described: dict[str, Any], core: object) -> Estimator:
    """Put a model together again from its description and its core."""
    family = family_named(described["family"])
    columns, slope = tuple(described["columns"]), described["slope"]
    return family(described["target"], described["link"], columns, core, slope, described["intercept"])
