"""Files of segments and stages: one table each, with its rule in SQL; every rule remembers its file and line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import Field, model_validator

from configs.errors import InputError, shortened
from configs.named_files import FOLDER, named_file, read_toml
from configs.section import Section
from configs.validated_model import validated

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TAKEN = ("user_id", "stage", "persona", "day")  # columns of the table of who is in what
Rule = TypeVar("Rule", bound="StageRule")


class StageRule(Section):
    """A stage of the lifecycle; a user is in the first whose rule holds."""

    name: str = Field(description="how rules, tables and the command line call it")
    title: str = Field(min_length=1, description="what people call it")
    meaning: str = Field(min_length=1, description="who is in it, in words for people")
    when: str = Field(min_length=1, max_length=4000, description="one boolean SQL expression")
    shown: int = Field(0, ge=0, le=1000, description="place at which it is listed; by default that of its rule")
    path: Path = Field(description="file it stands in")
    line: int = Field(description="line of the file in which the rule begins")


class SegmentRule(StageRule):
    """A segment: who fulfils its rule, or with `each` one segment for every value of a column."""

    when: str = Field("", max_length=4000, description="one boolean SQL expression")
    each: str | None = Field(None, description="column of texts: every value makes a segment of its own")
    most: int = Field(12, ge=1, le=100, description="with `each`: only so many values, the most frequent ones")
    needs: tuple[str, ...] = Field((), description="traits without which it is left out, since not every app has them")
    group: str = Field(description="name of its file, under which it is listed")

    @model_validator(mode="after")
    def _says_who(self) -> SegmentRule:
        if bool(self.when.strip()) == (self.each is not None):
            raise ValueError("say who is in it either by `when` or by `each`")
        return self


def load_stages(name: str) -> list[StageRule]:
    """Read ``configs/stages/<name>.toml``, or the TOML file at a path, in order.

    Raises
    ------
    InputError
        The file is missing, or a stage has an unknown key or a name that none may have.
    """
    path = named_file(name, FOLDER / "stages", ".toml", "stages")
    found = _tables(path, StageRule)
    if not found:
        raise InputError(f'{path} names no stage; write a table for each, the last with when = "true"')
    return found


def load_segments(names: Sequence[str]) -> list[SegmentRule]:
    """Read some files of ``configs/segments``, or at paths; of tables of one name the last counts, at its first place.

    Raises
    ------
    InputError
        A file is missing, or a segment has an unknown key or a name that none may have.
    """
    rules: dict[str, SegmentRule] = {}
    for name in names:
        path = named_file(name, FOLDER / "segments", ".toml", "segments")
        rules |= {rule.name: rule for rule in _tables(path, SegmentRule, group=path.stem)}
    return list(rules.values())


def _tables(path: Path, kind: type[Rule], **more: object) -> list[Rule]:
    tables, text = read_toml(path), path.read_text(encoding="utf-8-sig")
    return [_rule(path, text, name, table, kind, more) for name, table in tables.items()]


def _rule(path: Path, text: str, name: str, table: object, kind: type[Rule], more: dict[str, object]) -> Rule:
    what = "segment" if kind is SegmentRule else "stage"
    line = rule_line(text, name)
    if not isinstance(table, dict):
        raise InputError(f"{path}, line {line}: {shortened(name)!r} is no table; write [{shortened(name)}] above it")
    if not NAME.fullmatch(name) or name in TAKEN:
        raise InputError(
            f"{path}, line {line}: {shortened(name)!r} cannot name a {what}; take lower-case letters, digits and "
            f"underscores, and none of {', '.join(TAKEN)}"
        )
    own = {"name": name, "path": path, "line": line, **more}
    return validated(kind, {**table, **own}, f"{what} {name!r} of {path}, line {line}")


def rule_line(text: str, name: str, key: str = "when") -> int:
    r"""Find the line of a file in which a rule of a table begins, or the table where it has none.

    Examples
    --------
    >>> rule_line('[a]\ntitle = "A"\n[b]\ntitle = "B"\nwhen = "true"', "b"), rule_line('[a]\neach = "x"', "a")
    (5, 1)
    >>> rule_line('[a]\nwhen = \'\'\'\ntrue\'\'\'', "a")
    3
    """
    table = re.search(rf"""^[ \t]*\[[ \t]*["']?{re.escape(name)}["']?[ \t]*\]""", text, re.MULTILINE)
    if table is None:
        return 1
    end = re.search(r"^[ \t]*\[", text[table.end() :], re.MULTILINE)
    own = text[table.end() : table.end() + end.start()] if end else text[table.end() :]
    found = re.search(rf"^[ \t]*{key}[ \t]*=[ \t]*(?:\"\"\"|''')?(\r?\n)?", own, re.MULTILINE)
    return text.count("\n", 0, table.end() + (found.end() if found else 0)) + 1
