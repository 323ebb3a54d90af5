"""Every text of a page's templates is a message that a language may say otherwise; English stands in the templates.

A Jinja extension reads the tokens of a template before they are compiled. What stands between two tags that begin or
end a block of a page is one message, with ``{0}``, ``{1}`` ... for what is filled in, and so is what a tag says to
those who do not see it (``alt``, ``aria-label``, ``data-label`` ...). So no text can be forgotten: one that a language
does not say stays English. Words inside of expressions are marked by hand, as ``_('low')``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from markupsafe import Markup

from serving.wording.visible_text import visible

MESSAGE, WORD = "page_text", "_"
# places of what is said in words among what is given to these calls; the macros say it by `_`
WORDS_OF_CALLS = {WORD: (0,), "plural": (1, 2), "part": (0,), "pick": (1,), "picture": (1, 2)}
INLINE = frozenset({"a", "b", "br", "code", "em", "small", "span", "strong"})
MARK = re.compile("\ue000(\\d+)\ue001")
TAG = re.compile(r"<(/?)([a-zA-Z!][a-zA-Z0-9]*)[^<>]*>")
WRAPPED = re.compile(r"<([a-z]+)[^<>]*>(?:(?!<\1[ >]).)*</\1>", re.DOTALL)
ATTRIBUTE = re.compile(r'(\s(?:alt|aria-label|title|placeholder|data-label)=")([^"]*)(")')
LETTER = re.compile(r"[^\W\d_]")

Expression = list[Token]


class PageTexts(Extension):
    """Turns the texts of pages into calls of `MESSAGE` with what they are filled with."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        """Read the tokens of a template of pages; those of anything else stay as they are."""
        if not (stream.name or "").endswith(".html.j2"):
            yield from stream
            return
        is_in_tag = False
        for run in _runs(stream):
            if isinstance(run, Token):
                yield run
                continue
            text, expressions, line = run
            pieces, is_in_tag = _pieces(text, is_in_tag)
            for is_message, piece in pieces:
                yield from (_call if is_message else _as_it_is)(piece, expressions, line)


def install(environment: Environment, texts: Mapping[str, str]) -> None:
    """Let a language's texts, by the English ones, stand on the pages of an environment."""

    def page_text(english: str, *filled: object) -> Markup:
        return Markup(texts.get(english, english)).format(*map(shown, filled))  # noqa: S704  (the template's own text)

    environment.finalize = shown
    environment.globals |= {MESSAGE: page_text, WORD: lambda english: texts.get(english, english)}


def shown(value: object) -> object:
    """Write what is filled in so that none of it is hidden."""
    return visible(value) if isinstance(value, str) else value


def english_texts(environment: Environment, sources: Mapping[str, str]) -> Iterator[str]:
    """List every text and word of templates, which are given by name with their source."""
    for name, source in sources.items():
        for call in environment._parse(source, name, None).find_all(nodes.Call):
            called = call.node.name if isinstance(call.node, nodes.Name) else ""
            if called == MESSAGE and isinstance(call.args[0], nodes.Const):
                yield call.args[0].value
            said = [call.args[place] for place in WORDS_OF_CALLS.get(called, ())]
            yield from (each for argument in said for each in constants(argument) if LETTER.search(each))


def constants(argument: nodes.Expr) -> Iterator[str]:
    """List the constants that an expression may be, not those that it compares with or looks up by."""
    if isinstance(argument, nodes.Const):
        yield from [argument.value] if isinstance(argument.value, str) else []
    elif isinstance(argument, nodes.CondExpr):
        yield from (each for own in (argument.expr1, argument.expr2) if own is not None for each in constants(own))
    elif isinstance(argument, nodes.Or):
        yield from (each for own in (argument.left, argument.right) for each in constants(own))
    elif isinstance(argument, nodes.Filter | nodes.Getattr | nodes.Getitem) and argument.node is not None:
        yield from constants(argument.node)
    elif isinstance(argument, nodes.Dict):
        yield from (each for pair in argument.items for each in constants(pair.value))
    elif isinstance(argument, nodes.Call):
        yield from constants(argument.node)


def _runs(stream: TokenStream) -> Iterator[Token | tuple[str, list[Expression], int]]:
    """Join texts and what is filled in between statements; marks stand for expressions. Statements stay tokens."""
    text, expressions, line, inside = "", list[Expression](), 1, ""
    for token in stream:
        if inside:
            if inside == "block":
                yield token
            elif token.type != "variable_end":
                expressions[-1].append(token)
            inside = "" if token.type == f"{inside}_end" else inside
        elif token.type == "data":
            text, line = text + token.value, line if text else token.lineno
        elif token.type == "variable_begin":
            text, line = f"{text}\ue000{len(expressions)}\ue001", line if text else token.lineno
            expressions.append([])
            inside = "variable"
        else:
            if text:
                yield text, expressions, line
            text, expressions, inside = "", [], "block"
            yield token
    if text:
        yield text, expressions, line


def _pieces(text: str, is_in_tag: bool) -> tuple[list[tuple[bool, str]], bool]:
    """Cut a run into messages and what is none; says whether it ends within a tag."""
    pieces, at = list[tuple[bool, str]](), 0
    if is_in_tag:
        at = text.find(">") + 1
        if not at:
            return [(False, text)], True
        pieces += _attributes(text[:at])
    end = text.rfind("<") if text.rfind("<") > text.rfind(">") else len(text)
    words = at
    for tag in TAG.finditer(text, at, end):
        if tag[2].lower() in INLINE:
            continue
        pieces += _message(text[words : tag.start()])
        pieces += _attributes(tag[0])
        words = tag.end()
    pieces += _message(text[words:end])
    pieces += _attributes(text[end:])
    return pieces, end < len(text) or (is_in_tag and not at)


def _message(text: str) -> list[tuple[bool, str]]:
    """Take a message out of its blanks and of the one pair of tags that is around it."""
    plain = MARK.sub("", TAG.sub("", text))
    if not LETTER.search(re.sub(r"&\w+;", "", plain)):
        return _attributes(text)
    core = text.strip()
    before, after = text[: text.index(core)], text[text.index(core) + len(core) :]
    if WRAPPED.fullmatch(core):
        opened, closed = core.index(">") + 1, core.rindex("<")
        inner = _message(core[opened:closed])
        return [(False, before), *_attributes(core[:opened]), *inner, (False, core[closed:] + after)]
    return [(False, before), (True, " ".join(core.split())), (False, after)]


def _attributes(text: str) -> list[tuple[bool, str]]:
    pieces, at = list[tuple[bool, str]](), 0
    for found in ATTRIBUTE.finditer(text):
        if LETTER.search(MARK.sub("", found[2])):
            pieces += [(False, text[at : found.start(2)]), (True, found[2])]
            at = found.end(2)
    return [*pieces, (False, text[at:])]


def _as_it_is(text: str, expressions: list[Expression], line: int) -> Iterator[Token]:
    for place, part in enumerate(MARK.split(text)):
        if place % 2:
            tokens = expressions[int(part)]
            yield from (Token(line, "variable_begin", "{{"), *tokens, Token(line, "variable_end", "}}"))
        elif part:
            yield Token(line, "data", part)


def _call(text: str, expressions: list[Expression], line: int) -> Iterator[Token]:
    used = [int(mark) for mark in MARK.findall(text)]
    english = text.replace("{", "{{").replace("}", "}}")
    for place, mark in enumerate(used):
        english = english.replace(f"\ue000{mark}\ue001", f"{{{place}}}")
    yield Token(line, "variable_begin", "{{")
    yield Token(line, "name", MESSAGE)
    yield Token(line, "lparen", "(")
    yield Token(line, "string", english)
    for mark in used:
        yield Token(line, "comma", ",")
        yield Token(line, "lparen", "(")
        yield from expressions[mark]
        yield Token(line, "rparen", ")")
    yield Token(line, "rparen", ")")
    yield Token(line, "variable_end", "}}")
