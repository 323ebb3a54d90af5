"""Results of A/B tests inside plays in words: a verdict, and a table of the variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from features.storage.lake import Lake
from models.judge.experiment_verdict import ALIKE, NOBODY_YET, UNEVEN, WON, ExperimentResult, VariantResult
from serving.cubes.kept_experiments import newest_results
from serving.stored_days.day_tables import columns_of_day, connect, decisions_source
from serving.stored_days.ledger import OF_EXPERIMENTS
from serving.wording.language_file import ENGLISH, load_language
from serving.wording.rendering import Words

MEASURES = {  # of experiments, said by pages in their language
    "margin": "margin a head",
    "retention": "share who stay",
    "conversion": "share who buy",
    "redemption": "share who redeem",
}
DREW = """
    SELECT experiment, list({{'variant': variant, 'users': users}} ORDER BY variant)
    FROM (SELECT experiment, variant, count(*) AS users FROM {decisions} WHERE variant IS NOT NULL GROUP BY ALL)
    GROUP BY experiment ORDER BY experiment
"""
MOST_SAID = 10**9  # users: of more it is only said that they are too many


def english(currency: str) -> Words:
    """Words of the command line and of runs."""
    return Words(load_language(ENGLISH), currency=currency)


def verdict_words(experiment: ExperimentResult, words: Words) -> str:
    """Say what is known, and what to do about it."""
    say = words.say
    if experiment.state == NOBODY_YET:
        return say("nobody was given the play yet, so that nobody drew a variant")
    if experiment.state == UNEVEN:
        return say(
            "no verdict: the split is uneven beyond chance (p = {p:.1g}): {drew}; were shares or variants changed "
            "under the same name, or are users of one lost on the way? Start anew with another name",
            p=experiment.split_doubt, drew=", ".join(_drew(each, words) for each in experiment.variants),
        )  # fmt: skip
    if experiment.state == WON:
        return say(
            "{winner} is better: {lead}; make it the play's own and end the experiment",
            winner=experiment.winner, lead=_lead(experiment, words),
        )  # fmt: skip
    seen, amount = words.counted(experiment.closed, "{number} user", "{number} users"), _amount(experiment, words)
    if experiment.state == ALIKE:
        return say(
            "no difference of {amount} or more between any two, over {seen}: keep what is simpler",
            amount=amount, seen=seen,
        )  # fmt: skip
    if experiment.needed is None:
        return say("not yet: {seen}, too few for a guess how many it takes", seen=seen)
    if experiment.needed > MOST_SAID:
        return say(
            "not yet: {seen}; a difference of {amount} would take more than a billion users", seen=seen, amount=amount
        )
    needed = words.figures.thousands(experiment.needed)
    if experiment.closed >= experiment.needed:
        return say(
            "not yet, {seen} of about {needed}: the variants are nearly alike, or chance hides it; it may go on as "
            "long as you like",
            seen=seen, needed=needed,
        )  # fmt: skip
    return say(
        "not yet, {seen} of about {needed} that it takes to find a difference of {amount}",
        seen=seen, needed=needed, amount=amount,
    )  # fmt: skip


def experiment_sentences(lake: Lake, as_of: date, words: Words) -> list[str]:
    """Say of each experiment what was known when it was last measured, on or before a day, and who takes part today."""
    _, results = newest_results(lake, as_of)
    measured = [f"{each.name} ({each.title}): {verdict_words(each, words)}" for each in results]
    if not set(OF_EXPERIMENTS) <= set(columns_of_day(lake, as_of, "decisions")):
        return measured
    with connect(lake) as connection:
        drew = connection.execute(DREW.format(decisions=decisions_source(lake, as_of))).fetchall()
    return [*measured, *(_drawn_today(name, drawn, words) for name, drawn in drew)]


def _drawn_today(name: str, drawn: Sequence[Mapping[str, Any]], words: Words) -> str:
    said = ", ".join(f"{words.figures.thousands(each['users'])} {each['variant']}" for each in drawn)
    users = words.figures.thousands(sum(each["users"] for each in drawn))
    return words.say("{name}: {users} are written to by it today ({said})", name=name, users=users, said=said)


def _drew(variant: VariantResult, words: Words) -> str:
    drew = words.figures.thousands(variant.exposed)
    return words.say("{drew} {name} (meant {share:.0%})", drew=drew, name=variant.name, share=variant.share)


def _amount(experiment: ExperimentResult, words: Words) -> str:
    """Write the smallest difference that is worth finding."""
    worth = experiment.smallest_effect or 0.0
    if experiment.measured_by == "margin":
        return words.say("{amount} a head", amount=words.figures.money(worth))
    return words.say("{points:.2g} points", points=100 * worth)


def _lead(experiment: ExperimentResult, words: Words) -> str:
    """Write the effect of the winner beside the first variant; where that one won, of the best of the others."""
    others = [each for each in experiment.variants[1:] if each.effect is not None]
    won = next((each for each in others if each.name == experiment.winner), None)
    shown = won or max(others, key=lambda each: each.effect.value if each.effect else 0.0)
    beside, effect = experiment.variants[0].name, effect_words(shown, experiment.measured_by, words)
    if won:
        return words.say("{effect} beside {name}", effect=effect, name=beside)
    return words.say("the nearest, {name}, has {effect} beside it", name=shown.name, effect=effect)


def measured_words(measured_by: str, words: Words) -> str:
    """Name what an experiment is judged by."""
    return words.say(MEASURES[measured_by])


def effect_words(variant: VariantResult, measured_by: str, words: Words) -> str:
    """Write an effect with its interval, which may be looked at every day."""
    effect, signed = variant.effect, words.figures.signed
    if effect is None:
        return words.say("too few yet")
    if measured_by == "margin":
        return words.say(
            "{value} [{low}, {high}] {currency} a head",
            value=signed(effect.value), low=signed(effect.low), high=signed(effect.high), currency=words.currency,
        )  # fmt: skip
    value, low, high = (signed(100 * each) for each in (effect.value, effect.low, effect.high))
    return words.say("{value} [{low}, {high}] points", value=value, low=low, high=high)


def mean_words(variant: VariantResult, measured_by: str, words: Words) -> str:
    """Write what the users of a variant brought."""
    if variant.mean is None:
        return words.say("not known yet")
    return words.figures.money(variant.mean) if measured_by == "margin" else words.language.number(variant.mean, ".2%")


def experiment_lines(results: Sequence[ExperimentResult], day: date, horizon: int, currency: str) -> Iterator[str]:
    """Write all experiments as a page."""
    words = english(currency)
    if not results:
        yield (
            "the catalogue has no experiment; [PLAY.experiment] with [[PLAY.experiment.variants]] starts one "
            "(configs/README.md, Experiments inside a play)"
        )
        return
    yield (
        f"experiments on {day}: users who were given the play, by the variant that they drew first; an outcome is "
        f"known after {horizon} days, and intervals (95%) hold however often you look"
    )
    for each in results:
        began = f"since {each.first_day}" if each.first_day else "not begun"
        ended = "" if each.is_running else ", ended"
        yield from ("", f"{each.name}  in {each.play} ({each.title}), by {MEASURES[each.measured_by]}, {began}{ended}")
        yield f"  {verdict_words(each, words)}"
        width = max(len("variant"), *(len(variant.name) for variant in each.variants))
        head = f"{'variant':<{width}}  {'share':>6} {'users':>9} {'known':>9}"
        yield f"  {head}  {'brought':<16} beside {each.variants[0].name}"
        for variant in each.variants:
            effect = "" if variant is each.variants[0] else effect_words(variant, each.measured_by, words)
            brought = mean_words(variant, each.measured_by, words)
            counts = f"{variant.share:>6.0%} {variant.exposed:>9,} {variant.closed:>9,}"
            yield f"  {variant.name:<{width}}  {counts}  {brought:<16} {effect}".rstrip()
        if each.saved > 0:
            yield f"  what was known of users before their first contact explains {each.saved:.0%} of the differences"
