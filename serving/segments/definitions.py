"""The segment definitions of an app: read, checked, and with references to other segments resolved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlglot import exp

from configs.segment_files import SegmentRule, load_segments
from configs.settings import Settings
from features.definitions.registry import Feature
from features.storage.whole_writes import content_hash
from serving.segments.known_columns import PREDICTED, STAGE, Kind, constants_of, snapshot_kinds
from serving.segments.language import Place, Vocabulary, checked, compiled, parsed
from serving.segments.rules import Rule, Segment, Stages
from serving.segments.stages import stages_of

Key = TypeVar("Key")


@dataclass(frozen=True)
class Definitions:
    """All that says who belongs together: stages, segments, those of each value of a column, and what was left out.

    `left_out` says of each segment that this app cannot have, by name, which column it lacks.
    """

    stages: Stages
    segments: tuple[Segment, ...]
    of_values: tuple[SegmentRule, ...]
    left_out: Mapping[str, str]
    words: Vocabulary

    def with_values(self, values: Mapping[str, Sequence[str]]) -> tuple[Segment, ...]:
        """List the segments of a day; `values` are those of each column of `of_values`, the most frequent first."""
        own = [each for rule in self.of_values for each in self._of_each(rule, values.get(rule.each or "", ()))]
        return (*self.segments, *own)

    def _of_each(self, rule: SegmentRule, values: Sequence[str]) -> Iterable[Segment]:
        taken: set[str] = {segment.name for segment in self.segments}
        for value in sorted(values[: rule.most]):
            name = _free(f"{rule.name}_{re.sub(r'[^a-z0-9]+', '_', value.lower()).strip('_') or 'other'}", taken)
            taken.add(name)
            asked = compiled(exp.EQ(this=exp.column(rule.each or ""), expression=exp.Literal.string(value)), self.words)
            yield _segment(rule, asked, self.stages, name=name, title=f"{rule.title}: {value}")


def definitions_of(settings: Settings, features: Iterable[Feature]) -> Definitions:
    """Read and check stages and segments of an app; `features` are the columns of its snapshots, traits included.

    Raises
    ------
    InputError
        A file is missing, a rule is wrong, or rules name each other in a circle; the sentence names file and line.
    """
    features = list(features)
    stages, rules, columns = (
        stages_of(settings, features),
        load_segments(settings.segments.files),
        known_kinds(features),
    )
    lacks = {rule.name: lack for rule in rules for lack in rule.needs if lack not in columns}
    book = _book_of(settings, features)
    segments = tuple(
        _segment(rule, compiled(book.expression(rule.name), book.words), stages)
        for rule in book.rules.values()
        if rule.each is None
    )
    of_values = tuple(book.check_each(rule) for rule in book.rules.values() if rule.each is not None)
    return Definitions(stages, segments, of_values, lacks, book.words)


def compiled_beside(
    settings: Settings, features: Iterable[Feature], texts: Mapping[Key, tuple[str, Place]]
) -> dict[Key, Rule]:
    """Check and compile some more rules of an app by its columns and segments; `texts` are rules with their place.

    Raises
    ------
    InputError
        A rule, a stage or a segment is wrong; the sentence names file and line.
    """
    book = _book_of(settings, list(features))
    words = Vocabulary(book.words.columns, book.words.constants, book.words.names, book.expression)
    return {
        name: compiled(checked(parsed(text, place), words, place), book.words) for name, (text, place) in texts.items()
    }


def _book_of(settings: Settings, features: Sequence[Feature]) -> _RuleBook:
    columns = known_kinds(features)
    rules = [rule for rule in load_segments(settings.segments.files) if set(rule.needs) <= set(columns)]
    return _RuleBook(rules, Vocabulary(columns, constants_of(settings)))


def known_kinds(features: Iterable[Feature]) -> dict[str, Kind]:
    """Tell the kind of every column that rules of a day may name."""
    return snapshot_kinds(features) | {STAGE: "text"} | {name: kind for name, (kind, _) in PREDICTED.items()}


class _RuleBook:
    """Rules by name; each is read once, and may name others."""

    def __init__(self, rules: Sequence[SegmentRule], words: Vocabulary) -> None:
        self.rules = {rule.name: rule for rule in rules}
        for rule in rules:
            if rule.name in words.columns or rule.name in words.constants:
                raise _place(rule).error("bears the name of a column; rename it")
        self.words = Vocabulary(words.columns, words.constants, tuple(self.rules))
        self._read: dict[str, exp.Expression] = {}

    def expression(self, name: str, above: tuple[str, ...] = ()) -> exp.Expression:
        """Read a rule, and those that it names."""
        if name not in self._read:
            rule, place = self.rules[name], _place(self.rules[name])
            if name in above:
                circle = " -> ".join([*above[above.index(name) :], name])
                raise place.error(f"names itself in a circle ({circle}); take one of these names out")
            if rule.each is not None:
                raise place.error("makes a segment of each value, so that no rule can name it; compare its column")
            words = Vocabulary(
                self.words.columns, self.words.constants, self.words.names,
                partial(self.expression, above=(*above, name)),
            )  # fmt: skip
            self._read[name] = checked(parsed(rule.when, place), words, place)
        return self._read[name]

    def check_each(self, rule: SegmentRule) -> SegmentRule:
        """Make sure that `each` names a column of texts."""
        place = _place(rule)
        checked(parsed(f"{rule.each} = ''", place), self.words, place)
        return rule


def _segment(rule: SegmentRule, asked: Rule, stages: Stages, **own: str) -> Segment:
    used = stages.digest if STAGE in asked.columns else ""
    digest = content_hash(text=f"{asked.sql} {used}")[:12]
    said = {"name": rule.name, "title": rule.title, **own}
    return Segment(**said, meaning=rule.meaning, group=rule.group, rule=asked, digest=digest)


def _place(rule: SegmentRule) -> Place:
    return Place(f"segment {rule.name!r}", rule.path, rule.line)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
