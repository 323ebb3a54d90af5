"""Roles of events: which names play which part in an app, as bits of one whole number."""

from __future__ import annotations

from configs.settings import Roles

TREATMENT = "winback:treatment"  # treatments join the events of their day under this name


def role_bits(roles: Roles) -> dict[str, int]:
    """Give each role a bit, and treatments one."""
    return {role: 1 << place for place, role in enumerate([*dict(roles), "treatment"])}


def role_codes(roles: Roles) -> dict[str, int]:
    """Add up the bits of every event name that plays a role."""
    named = {role: set(names) for role, names in roles} | {"treatment": {TREATMENT}}
    bits = role_bits(roles)
    every = sorted(set().union(*named.values()))
    return {name: sum(bits[role] for role, names in named.items() if name in names) for name in every}
