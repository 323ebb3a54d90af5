"""Every text of a page is said in every language that is shipped, and nothing is said in two languages at once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import pytest
from jinja2 import DictLoader, Environment, nodes

from configs.named_files import FOLDER
from configs.settings import load_settings
from serving.report_page.page_environment import page_environment
from serving.wording.language_file import load_language
from serving.wording.page_texts import PageTexts, constants, english_texts, install
from serving.wording.rendering import Words

ROOT = FOLDER.parent
FOLDERS = (ROOT / "serving" / "report_page", ROOT / "serving" / "desk" / "templates")
SAYS = {"say": slice(0, 1), "text": slice(0, 1), "counted": slice(1, 3)}  # which arguments are texts
REFUSALS = ("RefusedError", "PageNotFoundError")
CODE = (*sorted((ROOT / "serving").rglob("*.py")), ROOT / "flows" / "serve_desk.py")


def said_by_code(path: Path) -> Iterator[str]:
    """Sentences that code says, or refuses by: constants, those of a table, or what a name of the function may be."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tables = named_values(tree.body)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for scope in (*functions, tree):
        known = tables | named_values([node for node in ast.walk(scope) if isinstance(node, ast.Assign)])
        for node in ast.walk(scope):
            for argument in said_in(node):
                yield from said(argument, known)


def named_values(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """What each name is given, of some statements."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(value)
    return found


def said_in(node: ast.AST) -> list[ast.expr]:
    """Arguments of a call that are texts."""
    if not isinstance(node, ast.Call):
        return []
    if isinstance(node.func, ast.Attribute):
        return node.args[SAYS[node.func.attr]] if node.func.attr in SAYS else []
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    return node.args[:1] if name == "say" or name in REFUSALS else []


def said(node: ast.expr, known: Mapping[str, list[ast.expr]]) -> Iterator[str]:
    """Texts that an expression may be; not those that it compares with or looks up by."""
    if isinstance(node, ast.Constant):
        yield from [node.value] if isinstance(node.value, str) else []
    elif isinstance(node, ast.Name):
        yield from (
            text
            for value in known.get(node.id, ())
            if value is not node
            for text in said(value, {**known, node.id: []})
        )
    elif isinstance(node, ast.IfExp):
        yield from (text for each in (node.body, node.orelse) for text in said(each, known))
    elif isinstance(node, ast.BoolOp):
        yield from (text for each in node.values for text in said(each, known))
    elif isinstance(node, ast.Dict | ast.Tuple):
        values = node.values if isinstance(node, ast.Dict) else node.elts
        yield from (text for each in values for text in said(each, known))
    elif isinstance(node, ast.Subscript):
        yield from said(node.value, known)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        yield from (text for each in (node.func.value, *node.args[1:]) for text in said(each, known))


@lru_cache
def every_text() -> tuple[str, ...]:
    words = Words(load_language("en"))
    found = dict.fromkeys(each for path in CODE for each in said_by_code(path))
    for folder in FOLDERS:
        environment = page_environment([folder], load_settings(), words)
        sources = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.j2"))}
        found |= dict.fromkeys(english_texts(environment, sources))
    return tuple(found)


def test_every_text_of_a_page_is_said_in_every_language_that_is_shipped() -> None:
    texts = every_text()
    assert len(texts) > 300
    for path in (FOLDER / "languages").glob("*.toml"):
        if path.stem != "en":
            said = load_language(path.stem).pages
            assert [text for text in texts if text not in said] == []
            assert [text for text in said if text not in texts] == []  # what no page says any more


def rendered(template: str, said: dict[str, str], **values: object) -> str:
    environment = Environment(loader=DictLoader({"a.html.j2": template}), autoescape=True, extensions=[PageTexts])
    install(environment, said)
    return environment.get_template("a.html.j2").render(**values)


@pytest.mark.parametrize(
    ("template", "said", "wanted"),
    [
        ("<p>Hello</p>", {"Hello": "Hallo"}, "<p>Hallo</p>"),
        ("<p>{{ a }} of {{ b }}</p>", {"{0} of {1}": "von {1} {0}"}, "<p>von 2 &lt;1&gt;</p>"),
        ("<p>a <b>{{ a }}</b>!</p>", {"a <b>{0}</b>!": "<b>{0}</b>?"}, "<p><b>&lt;1&gt;</b>?</p>"),
        (
            '<td data-label="Users" class="x">{{ b }}</td>',
            {"Users": "Leute"},
            '<td data-label="Leute" class="x">2</td>',
        ),
        ("<p{% if b %} class='x'{% endif %}>a</p>", {"a": "b"}, "<p class='x'>b</p>"),
        ("<p>{% if b %}one{% else %}two{% endif %} and</p>", {"one": "eins", "and": "und"}, "<p>eins und</p>"),
        ("<p>{{ _('low' if b else 'high') }}</p>", {"low": "tief"}, "<p>tief</p>"),
        ("<p>100{} {{ b }} more</p>", {"100{{}} {0} more": "noch {0}{{}}"}, "<p>noch 2{}</p>"),
        ("<p>{{ a }}</p>", {"{0}": "no message"}, "<p>&lt;1&gt;</p>"),
    ],
)
def test_what_stands_between_tags_is_one_message(template: str, said: dict[str, str], wanted: str) -> None:
    assert rendered(template, said, a="<1>", b=2) == wanted


def test_what_is_filled_in_is_escaped_and_never_read_as_a_template() -> None:
    hostile = "<img onerror=x> {0} {a} %s {{ b }}"
    found = rendered("<p>of {{ a }}</p>", {"of {0}": "von {0}"}, a=hostile)
    assert found == "<p>von &lt;img onerror=x&gt; {0} {a} %s {{ b }}</p>"


def test_templates_are_compiled_once_and_constants_are_said_in_each_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.html.j2").write_text("{{ 1234 | thousands }}", encoding="utf-8")
    compiled = []
    monkeypatch.setattr(Environment, "_compile", lambda *words: compiled.append(words) or compile(*words[1:], "exec"))
    environments = [page_environment([tmp_path], load_settings(), Words(load_language(name))) for name in ("en", "de")]
    assert [each.get_template("a.html.j2").render() for each in environments] == ["1,234", "1.234"]
    assert len(compiled) == 1


def test_words_inside_of_expressions_are_marked() -> None:
    """A constant that a page writes is said by `_`, or it would be English everywhere."""
    for folder in FOLDERS:
        environment = page_environment([folder], load_settings(), Words(load_language("en")))
        for path in folder.glob("*.j2"):
            tree = environment._parse(path.read_text(encoding="utf-8"), path.name, None)
            written = [each for output in tree.find_all(nodes.Output) for each in output.nodes]
            bare = [text for each in written for text in constants(each) if re.search("[A-Za-z]{2}", text)]
            assert bare == [], path.name
