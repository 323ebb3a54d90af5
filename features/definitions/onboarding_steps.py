"""The columns of an app's first steps, `roles.onboarding`: an event name each; what was done once is done for good."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from configs.errors import InputError
from features.definitions.event_roles import OnboardingStep
from features.definitions.registry import ALWAYS, Declarations, Feature, Windowed

if TYPE_CHECKING:
    import ibis.expr.types as ir

SIGN_UP = "sign_up"  # who has a `signed_up_at` in the users table has done it, event or not
ONBOARDING_SHARE, NEXT_STEP = "onboarding_share", "next_onboarding_step"


def onboarding_steps(events: Sequence[str], titles: Mapping[str, str]) -> tuple[OnboardingStep, ...]:
    """List the steps of an app by their event names, in order.

    Raises
    ------
    InputError
        Two of them would make one column.

    Examples
    --------
    >>> [step.column for step in onboarding_steps(["sign_up", "KYC done"], {})]
    ['has_done_sign_up', 'has_done_kyc_done']
    """
    steps = [
        OnboardingStep(event, place, _spelt(event, place), titles.get(event, event.replace("_", " ")))
        for place, event in enumerate(events)
    ]
    first = {step.word: step for step in reversed(steps)}
    for step in steps:
        if first[step.word] is not step:
            raise InputError(
                f"roles.onboarding names {first[step.word].event_name!r} and {step.event_name!r}, which would make one "
                f"column, {step.column!r}; leave one out, or rename its event in the source"
            )
    return tuple(steps)


def with_steps(declared: Declarations, steps: Sequence[OnboardingStep]) -> Declarations:
    """Declare how the events of steps are counted by day, whether each was ever done, and what people call that."""
    return replace(
        declared,
        measures={**declared.measures, **{step.measure: _counted(step.flag) for step in steps}},
        windowed={**declared.windowed, **{step.column: _ever(step) for step in steps}},
        features={**declared.features, **{step.column: _feature(step) for step in steps}},
        steps=tuple(steps),
    )


def _spelt(event: str, place: int) -> str:
    return re.sub(r"[^a-z0-9]+", "_", event.lower()).strip("_") or f"step_{place + 1}"


def _counted(flag: str) -> Callable[[ir.Table], ir.NumericScalar]:
    def measure(events: ir.Table) -> ir.NumericScalar:
        return events.count(where=getattr(events, flag))

    return measure


def _ever(step: OnboardingStep) -> Windowed:
    count = attrgetter(step.measure)

    def has_happened(days: ir.Table) -> ir.Value:
        return count(days) > 0

    return Windowed(step.column, "ever", has_happened, (ALWAYS,))


def _feature(step: OnboardingStep) -> Feature:
    meaning = f"First step done: {step.title}"
    return Feature(
        step.column, f"{meaning}.", "all", "onboarding", "onboarding", unit="flag", missing="zero", plain=meaning
    )
