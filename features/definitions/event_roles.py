"""Roles of events (purchase, session, ...) as bits of an integer, and the onboarding steps of an app."""

from __future__ import annotations

from dataclasses import dataclass

from configs.settings import Roles

TREATMENT = "winback:treatment"  # treatments join the events of their day under this name
STEP = "onboarding_step_{}"  # the part that the event of one first step plays


@dataclass(frozen=True)
class OnboardingStep:
    """One of the first steps: its event, its place among all, its spelling in columns, and what people call it."""

    event_name: str
    place: int
    word: str
    title: str

    @property
    def flag(self) -> str:
        """Column of events that marks those by which it is done."""
        return f"is_{STEP.format(self.place)}"

    @property
    def measure(self) -> str:
        """Column of daily rows that counts them."""
        return f"step_{self.word}_count"

    @property
    def column(self) -> str:
        """Column of a snapshot that says whether it is done."""
        return f"has_done_{self.word}"


def role_bits(roles: Roles) -> dict[str, int]:
    """Give each role a bit, and treatments and each of the first steps one."""
    steps = map(STEP.format, range(len(roles.onboarding)))
    return {role: 1 << place for place, role in enumerate([*dict(roles), "treatment", *steps])}


def role_codes(roles: Roles) -> dict[str, int]:
    """Add up the bits of every event name that plays a role."""
    named = {role: set(names) for role, names in roles} | {"treatment": {TREATMENT}}
    named |= {STEP.format(place): {name} for place, name in enumerate(roles.onboarding)}
    bits = role_bits(roles)
    every = sorted(set().union(*named.values()))
    return {name: sum(bits[role] for role, names in named.items() if name in names) for name in every}
