"""What the gate of decisions said: which policy decides, why, and what each candidate would have been worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.policy_value.policy_verdict import (
    CONSTANT,
    NOBODY,
    ON_TRIAL,
    PERSONAL,
    RANKING,
    RETIRED,
    RULE,
    Ladder,
    PolicyValue,
    PolicyVerdict,
)
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
    PERSONAL: "It was proven to bring more than giving none, and than every simpler way that is proven.",
}
SIMPLE = (
    "It was proven to bring more than what is simpler, and choosing for each user was not proven to bring more still."
)
CORRECTED = (
    "Both sides of it are corrected by what was seen: benefits of those it picks cost {own:.0%} of what models expect, "
    "{others:.0%} where no own spend is known, and {believed:.0%} of the expected effects is promised."
)
STANDINGS = {ON_TRIAL: "on trial for {share:.0%} of users", RETIRED: "retired: proven to bring less"}
TRIAL = (
    "On trial, for {share:.0%} of the users, who are drawn anew every day: {each}. Past offers speak for it and do not "
    "prove it yet; with more evidence it decides for more users, or is retired."
)


@dataclass(frozen=True)
class Candidate:
    """A policy that was judged; `gain` is what it brings a head against giving nobody anything.

    `standing` is its place on the ladder in words, empty where it has none.
    """

    words: str
    gain: PolicyValue
    is_deployed: bool
    standing: str = ""


@dataclass(frozen=True)
class PolicyGate:
    """The policy that decides, in words, and what it was chosen from; `lead` is that of the personal policy.

    `trial` says which policies decide for some users without proof, and what that may cost; empty where none does.
    """

    name: str
    words: str
    why: str
    reason: str
    candidates: list[Candidate]
    lead: PolicyValue
    trial: str = ""


def gate_of(verdict: PolicyVerdict | None, words: Words) -> PolicyGate | None:
    """Put the verdict that a training kept into words; None when it had no experiment to judge by."""
    if verdict is None:
        return None
    deployed = verdict.deployed
    candidates = [
        Candidate(words.say(CANDIDATES.get(name, name)), gain, name == deployed.name, _standing(verdict, name, words))
        for name, gain in verdict.gains.items()
    ]
    return PolicyGate(
        name=deployed.name,
        words=words.sentence(stored(policy_reasons(deployed))),
        why=" ".join([words.say(WHY.get(deployed.name, SIMPLE)), *_corrections(verdict, words)]),
        reason=verdict.reason,
        candidates=candidates,
        lead=verdict.lead,
        trial=_trial(verdict.ladder, words),
    )


def _corrections(verdict: PolicyVerdict, words: Words) -> Iterator[str]:
    """Say by what the personal policy's costs and effects are multiplied; nothing where models are taken as is."""
    if verdict.is_corrected:
        costs = verdict.costs
        yield words.say(CORRECTED, own=costs.own, others=costs.others, believed=verdict.believed)


def _standing(verdict: PolicyVerdict, name: str, words: Words) -> str:
    """Say where a kind of policy stands: on trial for how many, or retired; empty where it is neither."""
    rungs = verdict.ladder.rungs if verdict.ladder is not None else ()
    rung = next((each for each in rungs if each.policy.name == name), None)
    if rung is None or rung.state not in STANDINGS:
        return ""
    return words.say(STANDINGS[rung.state], share=rung.share)


def _trial(ladder: Ladder | None, words: Words) -> str:
    tried = [rung for rung in ladder.rungs if rung.state == ON_TRIAL] if ladder is not None else []
    if not tried:
        return ""
    shares = [words.language.number(rung.share, ".0%") for rung in tried]
    told = [words.sentence(stored(policy_reasons(rung.policy))) for rung in tried]
    each = "; ".join(f"{policy} ({share})" for policy, share in zip(told, shares, strict=True))
    return words.say(TRIAL, share=float(sum(rung.share for rung in tried)), each=each)
