"""Lifecycle stages: a user is in the first stage whose rule holds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from configs.segment_files import StageRule, load_stages
from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import Feature
from serving.segments.known_columns import Kind, constants_of, snapshot_kinds
from serving.segments.language import Place, Vocabulary, checked, compiled, parsed
from serving.segments.rules import Stage, Stages


def stages_of(settings: Settings, features: Iterable[Feature] | None = None) -> Stages:
    """Read and check the stages of an app; `features` are the columns of its snapshots, without traits by default.

    Raises
    ------
    InputError
        The file is missing, or a rule is wrong; the sentence names file and line.
    """
    known = declarations_of(settings).catalogue() if features is None else features
    columns, constants = snapshot_kinds(known), constants_of(settings)
    stages = _checked(tuple(load_stages(settings.segments.stages)), (*columns.items(),), (*constants.items(),))
    read = dict.fromkeys(name for stage in stages for name in stage.rule.columns)
    return Stages(stages, {name: columns[name] for name in read})


@lru_cache(maxsize=8)  # a day asks for the same stages again and again, and the parser takes its time
def _checked(
    rules: tuple[StageRule, ...], columns: tuple[tuple[str, Kind], ...], constants: tuple[tuple[str, float], ...]
) -> tuple[Stage, ...]:
    words = Vocabulary(dict(columns), dict(constants))
    stages = tuple(_stage(rule, words) for rule in rules)
    if stages[-1].rule.sql.upper() != "(TRUE)":
        raise _place(rules[-1]).error('is the last and must have when = "true", so that everybody is in a stage')
    return stages


def _stage(rule: StageRule, words: Vocabulary) -> Stage:
    place = _place(rule)
    compiled_rule = compiled(checked(parsed(rule.when, place), words, place), words)
    if compiled_rule.splits:
        raise place.error("compares with all users of a day (quantile, quintile), which stages may not; take a number")
    return Stage(rule.name, rule.title, rule.meaning, compiled_rule, rule.shown)


def _place(rule: StageRule) -> Place:
    return Place(f"stage {rule.name!r}", rule.path, rule.line)
