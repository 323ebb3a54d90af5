"""The verdict of the gate for decisions in words: which policy decides, why, and the value of each candidate."""

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
NO_MONEY = "What effects are worth is not known, because no event brings money."
REFUTED = "What was drawn refutes the stated propensities of {names}, so that nothing can be proven by them."
LEAD = (
    "Choosing for each user was worth {value} {currency} a head ({low} to {high}) more than {against}; only an "
    "interval above 0 lets it decide."
)
SAME = "Choosing for each user would give nothing to anybody."
SAME_AS_SIMPLER = "Choosing for each user would give everybody the same as the simpler way that came closest."
GOES_ON = "It decided before, and goes on as long as it is ahead by a standard error."
AGAINST = {
    NOBODY: "giving nobody anything, which came closest",
    CONSTANT: "the same offer for everybody, which came closest",
    RULE: "one offer for whoever lies on one side of one number, which came closest",
    RANKING: "one offer for those likeliest to use it, which came closest",
}
CLOSEST = "the simpler way that came closest"
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
    """The policy that decides, in words, and what it was chosen from; `lead` says what the personal policy leads by.

    `trial` says which policies decide for some users without proof, and what that may cost; empty where none does.
    """

    name: str
    words: str
    why: str
    candidates: list[Candidate]
    lead: str
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
        why=" ".join([words.say(WHY.get(deployed.name, SIMPLE)), *_remarks(verdict, words)]),
        candidates=candidates,
        lead=_lead(verdict, words),
        trial=_trial(verdict.ladder, words),
    )


def _lead(verdict: PolicyVerdict, words: Words) -> str:
    """Say what choosing for each user was worth more than what is simpler; nothing where that is not known."""
    lead, shown = verdict.lead, words.figures.a_head
    if not lead.is_known:
        return ""
    if verdict.is_the_same:
        return words.say(SAME if verdict.against == NOBODY else SAME_AS_SIMPLER)
    against = words.say(AGAINST.get(verdict.against, CLOSEST))
    said = words.say(
        LEAD, value=shown(lead.value), currency=words.currency, low=shown(lead.low), high=shown(lead.high),
        against=against,
    )  # fmt: skip
    return f"{said} {words.say(GOES_ON)}" if verdict.goes_on else said


def _remarks(verdict: PolicyVerdict, words: Words) -> Iterator[str]:
    """Say what else there is to know: no money, or by what the personal policy's costs and effects are multiplied."""
    if verdict.refuted:
        yield words.say(REFUTED, names=", ".join(verdict.refuted))
    elif not verdict.gains:
        yield words.say(NO_MONEY)
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
