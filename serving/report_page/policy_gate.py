"""What the gate of decisions said: which policy decides, why, and what each candidate would have been worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.judge.off_policy import PolicyValue
from models.judge.policies import CONSTANT, NOBODY, PERSONAL, RANKING, RULE, Deployed
from serving.wording.explanations import policy_reasons
from serving.wording.rendering import Words, stored

CANDIDATES = {
    CONSTANT: "The same offer for everybody",
    RULE: "One offer for whoever lies on one side of one number",
    RANKING: "One offer for those likeliest to use it",
    PERSONAL: "To each user what is expected to be worth most for them",
}
WHY = {
    NOBODY: "No way of giving offers was proven to bring more than giving none.",
    PERSONAL: "It was proven to bring more than every simpler way of giving offers.",
}
SIMPLE = (
    "It was proven to bring more than what is simpler, and choosing for each user was not proven to bring more still."
)


@dataclass(frozen=True)
class Candidate:
    """A policy that was judged; `gain` is what it brings a head against giving nobody anything."""

    words: str
    gain: PolicyValue
    is_deployed: bool


@dataclass(frozen=True)
class PolicyGate:
    """The policy that decides, in words, and what it was chosen from; `lead` is that of the personal policy."""

    name: str
    words: str
    why: str
    reason: str
    candidates: list[Candidate]
    lead: PolicyValue


def gate_of(policy: Mapping[str, Any] | None, words: Words) -> PolicyGate | None:
    """Put the verdict that a training kept into words; None when it had no randomised assignment to judge by.

    Raises
    ------
    KeyError, TypeError
        The verdict is damaged.
    """
    if policy is None:
        return None
    deployed = Deployed.from_notes(policy["deployed"])
    candidates = [
        Candidate(CANDIDATES.get(name, name), PolicyValue(**numbers), name == deployed.name)
        for name, numbers in policy["gains"].items()
    ]
    return PolicyGate(
        name=deployed.name,
        words=words.sentence(stored(policy_reasons(deployed))),
        why=WHY.get(deployed.name, SIMPLE),
        reason=policy["reason"],
        candidates=candidates,
        lead=PolicyValue(**policy["lead"]),
    )
