"""Checks that the templates of a language can be filled in wherever the English ones can."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

from configs.errors import InputError, did_you_mean

REASON_FIELDS = (
    "label", "value", "text", "title", "number", "percent", "exact_percent", "benefit", "effect", "amount",
)  # fmt: skip
TAGS = re.compile(r"</?\w+[^<>]*>")  # of texts of pages
WHOLE_SECTIONS = ("formats", "units", "benefits", "pages")
Sections = Mapping[str, Mapping[str, object]]  # texts by section and code


def check_templates(language: Sections, english: Sections, path: Path) -> None:
    """Refuse a language in which something could not be filled in; `path` is that of its file.

    A template may use the fields of the English one, in shapes that can write the same kinds of values. Those of
    `WHOLE_SECTIONS` must use all of these fields, and texts of pages must keep the tags, too.

    Raises
    ------
    InputError
        A template is none, or it breaks one of these rules.
    """
    known = dict(_templates(english))
    for name, template in _templates(language):
        section, _, code = name.partition(".")
        if section in ("units", "benefits") and name not in known:
            there = [each for each in known if each.startswith(f"{section}.")]
            raise InputError(f"language {path} says {name}, which is no {section[:-1]}; {did_you_mean(name, there)}")
        said = code if section == "pages" else known.get(name)  # a text of a page stands by its English one
        _check_fields(name, template, said, path)
        if section == "pages" and sorted(TAGS.findall(template)) != sorted(TAGS.findall(code)):
            raise InputError(f"{name} in language {path} has other tags than {code!r}; keep those that stand there")


def _check_fields(name: str, template: str, english: str | None, path: Path) -> None:
    """Compare the fields of a template with those of the English one; without one, with those that reasons have."""
    shapes = dict(_fields(english, name, "en")) if english is not None else dict.fromkeys(REASON_FIELDS, "")
    used = _fields(template, name, str(path))
    for field, shape in used:
        if field not in shapes:
            allowed = ", ".join(f"{{{each}}}" for each in shapes) or "no field"
            raise InputError(f"{name} in language {path} uses {{{field}}}; it may use {allowed}")
        if english is not None and not _shapes_of(shapes[field]) <= _shapes_of(shape):
            raise InputError(f"{name} in language {path} cannot write {{{field}:{shape}}}; write {english!r}")
    left_out = set(shapes).difference(field for field, _ in used)
    if name.partition(".")[0] in WHOLE_SECTIONS and left_out:
        raise InputError(f"{name} in language {path} leaves out {{{min(left_out)}}}; write it as {english!r}")


def _templates(sections: Sections) -> Iterator[tuple[str, str]]:
    for section, codes in sections.items():
        if section not in ("labels", "groups", "meanings"):
            yield from ((f"{section}.{code}", text) for code, text in codes.items() if isinstance(text, str))


def _fields(template: str, name: str, language: str) -> list[tuple[str, str]]:
    """Read the fields of a template, each with its shape.

    Raises
    ------
    InputError
        It is no template.
    """
    try:
        return [(field, shape or "") for _, field, shape, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InputError(f"{name} in language {language} is no template ({error}); mend {template!r}") from error


def _shapes_of(shape: str) -> set[type]:
    """Tell what a shape can write: numbers, texts or both."""
    return {type(sample) for sample in (1.0, "") if _can_write(sample, shape)}


def _can_write(sample: float | str, shape: str) -> bool:
    try:
        format(sample, shape)
    except ValueError:
        return False
    return True
