"""What the gate of decisions said: which policy decides, why, and what each candidate would have been worth."""

from __future__ import annotations

from dataclasses import dataclass

from models.judge.policy_verdict import CONSTANT, NOBODY, PERSONAL, RANKING, RULE, PolicyValue, PolicyVerdict
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


def gate_of(verdict: PolicyVerdict | None, words: Words) -> PolicyGate | None:
    """Put the verdict that a training kept into words; None when it had no experiment to judge by."""
    if verdict is None:
        return None
    deployed = verdict.deployed
    candidates = [
        Candidate(CANDIDATES.get(name, name), gain, name == deployed.name) for name, gain in verdict.gains.items()
    ]
    return PolicyGate(
        name=deployed.name,
        words=words.sentence(stored(policy_reasons(deployed))),
        why=WHY.get(deployed.name, SIMPLE),
        reason=verdict.reason,
        candidates=candidates,
        lead=verdict.lead,
    )
