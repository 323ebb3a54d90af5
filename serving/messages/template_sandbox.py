"""Messages as restricted Jinja2 templates: they can fill in fields, but not loop, call or access attributes.

What a template may contain is a short list, so that its output is bounded by its own length and that of its values, and
what is filled in is never read as a template. Jinja's own sandbox stands behind that list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_SIGNS = 20_000
FILTERS = ("capitalize", "d", "default", "lower", "title", "trim", "upper")
DEFAULTS = ("d", "default")
TESTS = ("defined", "undefined")
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.CondExpr, nodes.And,
    nodes.Or, nodes.Not, nodes.Filter, nodes.Test, nodes.Keyword,
)  # fmt: skip
NAMES_OF_NODES = {
    "Getattr": "an attribute", "Getitem": "a part of a field", "Call": "a call", "For": "a loop",
    "Assign": "a variable", "Macro": "a macro", "Include": "another file",
    "Import": "another file", "Extends": "another file", "Compare": "a comparison", "Concat": "a sum of texts",
}  # fmt: skip


class MessageError(ValueError):
    """What is wrong with a template, in which of its lines, counted from 1, and of which field, where it is one."""

    def __init__(self, sentence: str, line: int = 1, field: str = "") -> None:
        super().__init__(sentence)
        self.line, self.field = line, field


class _Missing(StrictUndefined):
    """A field that is not known of a reader: a condition may ask for it, and nothing may write it."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]
        return False


@dataclass(frozen=True)
class MessageTemplate:
    """A checked template with the names of the `fields` that it uses, in order of the alphabet."""

    template: Template
    fields: tuple[str, ...]

    def filled(self, values: Mapping[str, str]) -> str:
        """Fill the fields in; those that are not among the values are not known.

        Raises
        ------
        MessageError
            It writes a field that is not known without asking whether it is.

        Examples
        --------
        >>> greeting = message_template("Hi{% if first_name %} {{ first_name }}{% endif %}!")
        >>> greeting.filled({"first_name": "{{ 7 * 7 }}"}), greeting.filled({})
        ('Hi {{ 7 * 7 }}!', 'Hi!')
        """
        try:
            return self.template.render(values)
        except UndefinedError as error:
            raise MessageError(str(error), field=str(error).split("'")[1]) from error


@lru_cache(maxsize=4096)
def message_template(text: str, *, is_html: bool = False) -> MessageTemplate:
    """Read a template; where messages are HTML, what is filled in is escaped.

    Raises
    ------
    MessageError
        It is no template, or does more than to fill in fields and to ask whether they are known.

    Examples
    --------
    >>> message_template("{{ benefit }} off {{ category }}").fields
    ('benefit', 'category')
    >>> message_template("{{ item.__class__ }}")
    Traceback (most recent call last):
        ...
    serving.messages.template_sandbox.MessageError: a message has no place for an attribute
    >>> message_template("<b>{{ item }}</b>", is_html=True).filled({"item": "<i>tea</i>"})
    '<b>&lt;i&gt;tea&lt;/i&gt;</b>'
    """
    if len(text) > MOST_SIGNS:
        raise MessageError(f"a message has at most {MOST_SIGNS:,} signs, not {len(text):,}")
    environment = _environment(is_html)
    try:
        tree = environment.parse(text)
        _check(tree)
        names = {node.name for node in tree.find_all(nodes.Name)}
        return MessageTemplate(environment.from_string(tree), tuple(sorted(names)))
    except TemplateSyntaxError as error:
        raise MessageError(f"it is no template ({error.message})", error.lineno) from error
    except (RecursionError, SyntaxError) as error:  # of Python, which reads what Jinja makes of it
        raise MessageError("its conditions nest deeper than any message") from error
    except ValueError as error:
        raise error if isinstance(error, MessageError) else MessageError(f"it is no template ({error})") from error


@lru_cache(maxsize=2)
def _environment(is_html: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=is_html, undefined=_Missing, keep_trailing_newline=True, extensions=(), cache_size=0
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.tests = {name: environment.tests[name] for name in TESTS}
    return environment


def _check(tree: nodes.Template) -> None:
    for node in _nodes(tree):
        kind = type(node).__name__
        if not isinstance(node, ALLOWED):
            raise MessageError(f"a message has no place for {NAMES_OF_NODES.get(kind, kind)}", node.lineno)
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise MessageError(f"{node.name!r} is no filter of messages; known are: {', '.join(FILTERS)}", node.lineno)
        if isinstance(node, nodes.Test) and node.name not in TESTS:
            raise MessageError(f"a message asks only whether a field is defined, not {node.name!r}", node.lineno)
        if isinstance(node, nodes.Filter | nodes.Test):
            _check_words(node)
        if isinstance(node, nodes.Const) and not _is_sendable(node.value):
            raise MessageError("a text holds half of a sign, which no channel can carry", node.lineno)
        if isinstance(node, nodes.Name) and node.ctx != "load":
            raise MessageError(f"a message cannot set {node.name!r}", node.lineno)


def _check_words(node: nodes.Filter | nodes.Test) -> None:
    """See that a filter is given what it takes: a default the text in place of what is not known, others nothing."""
    takes = int(node.name in DEFAULTS)
    if node.kwargs or node.dyn_args or node.dyn_kwargs or len(node.args) != takes:
        words = "one text, as in default('you')" if takes else "nothing in brackets"
        raise MessageError(f"{node.name!r} takes {words}", node.lineno)


def _is_sendable(value: object) -> bool:
    try:
        str(value).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _nodes(tree: nodes.Node) -> list[nodes.Node]:
    """List a node and all below it, without recursion."""
    found, below = list[nodes.Node](), [tree]
    while below:
        node = below.pop()
        found.append(node)
        below.extend(node.iter_child_nodes())
    return found
