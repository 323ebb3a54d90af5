"""Experiments inside plays in words: a verdict each, and a table of the variants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from configs.settings import Settings
from features.storage.lake import Lake
from models.judge.experiment_verdict import ALIKE, NOBODY_YET, UNEVEN, WON, ExperimentResult, VariantResult
from serving.cubes.kept_experiments import newest_results
from serving.stored_days.day_tables import columns_of_day, connect, decisions_source
from serving.stored_days.ledger import OF_EXPERIMENTS
from serving.wording.formatting import money, signed, thousands

MEASURES = {
    "margin": "margin a head",
    "retention": "share who stay",
    "conversion": "share who buy",
    "redemption": "share who redeem",
}
DREW = """
    SELECT experiment, sum(users), string_agg(format('{{:,}} {{}}', users, variant), ', ' ORDER BY variant)
    FROM (SELECT experiment, variant, count(*) AS users FROM {decisions} WHERE variant IS NOT NULL GROUP BY ALL)
    GROUP BY experiment ORDER BY experiment
"""
MOST_SAID = 10**9  # users: of more it is only said that they are too many


def verdict_words(result: ExperimentResult, currency: str) -> str:
    """Say what is known, and what to do about it."""
    if result.state == NOBODY_YET:
        return "nobody was given the play yet, so that nobody drew a variant"
    if result.state == UNEVEN:
        drew = ", ".join(f"{thousands(each.exposed)} {each.name} (meant {each.share:.0%})" for each in result.variants)
        return (
            f"no verdict: the split is uneven beyond chance (p = {result.split_doubt:.1g}): {drew}; were shares or "
            "variants changed under the same name, or are users of one lost on the way? Start anew with another name"
        )
    if result.state == WON:
        return f"{result.winner} is better: {_lead(result, currency)}; make it the play's own and end the experiment"
    seen = _users(result)
    if result.state == ALIKE:
        return (
            f"no difference of {_amount(result, currency)} or more between any two, over {seen}: keep what is simpler"
        )
    if result.needed is None:
        return f"not yet: {seen}, too few for a guess how many it takes"
    if result.needed > MOST_SAID:
        return f"not yet: {seen}; a difference of {_amount(result, currency)} would take more than a billion users"
    about = f"not yet, {seen} of about {thousands(result.needed)}"
    if result.closed >= result.needed:
        return f"{about}: the variants are nearly alike, or chance hides it; it may go on as long as you like"
    return f"{about} that it takes to find a difference of {_amount(result, currency)}"


def experiment_sentences(settings: Settings, lake: Lake, as_of: date) -> list[str]:
    """Say of each experiment what was known when it was last measured, on or before a day, and who takes part today."""
    _, results = newest_results(lake, as_of)
    measured = [f"{each.name} ({each.title}): {verdict_words(each, settings.currency)}" for each in results]
    if not set(OF_EXPERIMENTS) <= set(columns_of_day(lake, as_of, "decisions")):
        return measured
    with connect(lake) as connection:
        drew = connection.execute(DREW.format(decisions=decisions_source(lake, as_of))).fetchall()
    return [
        *measured,
        *(f"{name}: {thousands(users)} are written to by it today ({said})" for name, users, said in drew),
    ]


def _users(result: ExperimentResult) -> str:
    return f"{thousands(result.closed)} users" if result.closed != 1 else "1 user"


def _amount(result: ExperimentResult, currency: str) -> str:
    """Write the smallest difference that is worth finding."""
    worth = result.smallest_effect or 0.0
    return f"{money(worth, currency)} a head" if result.measured_by == "margin" else f"{100 * worth:.2g} points"


def _lead(result: ExperimentResult, currency: str) -> str:
    """Write the effect of the winner beside the first variant; where that one won, of the best of the others."""
    others = [each for each in result.variants[1:] if each.effect is not None]
    won = next((each for each in others if each.name == result.winner), None)
    shown = won or max(others, key=lambda each: each.effect.value if each.effect else 0.0)
    beside = result.variants[0].name
    words = effect_words(shown, result.measured_by, currency)
    return f"{words} beside {beside}" if won else f"the nearest, {shown.name}, has {words} beside it"


def effect_words(variant: VariantResult, measured_by: str, currency: str) -> str:
    """Write an effect with its interval, which may be looked at every day."""
    effect = variant.effect
    if effect is None:
        return "too few yet"
    if measured_by == "margin":
        return f"{signed(effect.value)} [{signed(effect.low)}, {signed(effect.high)}] {currency} a head"
    value, low, high = (f"{100 * each:+.2f}" for each in (effect.value, effect.low, effect.high))
    return f"{value} [{low}, {high}] points"


def mean_words(variant: VariantResult, measured_by: str, currency: str) -> str:
    """Write what the users of a variant brought."""
    if variant.mean is None:
        return "not known yet"
    return money(variant.mean, currency) if measured_by == "margin" else f"{100 * variant.mean:.2f}%"


def experiment_lines(results: Sequence[ExperimentResult], day: date, horizon: int, currency: str) -> Iterator[str]:
    """Write all experiments as a page."""
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
        yield f"  {verdict_words(each, currency)}"
        width = max(len("variant"), *(len(variant.name) for variant in each.variants))
        head = f"{'variant':<{width}}  {'share':>6} {'users':>9} {'known':>9}"
        yield f"  {head}  {'brought':<16} beside {each.variants[0].name}"
        for variant in each.variants:
            effect = "" if variant is each.variants[0] else effect_words(variant, each.measured_by, currency)
            brought = mean_words(variant, each.measured_by, currency)
            counts = f"{variant.share:>6.0%} {variant.exposed:>9,} {variant.closed:>9,}"
            yield f"  {variant.name:<{width}}  {counts}  {brought:<16} {effect}".rstrip()
        if each.saved > 0:
            yield f"  what was known of users before their first contact explains {each.saved:.0%} of the differences"
