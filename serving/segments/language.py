"""The rule language: one boolean SQL expression, checked against an allowlist before it is run.

What is not on the list is refused: no subquery, no function that reads files or settings, no unknown column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from configs.errors import InputError, did_you_mean, shortened
from serving.segments.known_columns import Kind
from serving.segments.rules import QUINTILE, Part, Rule, Split

DIALECT = "duckdb"
QUANTILE = "quantile"
FUNCTIONS = ("abs", "coalesce", "greatest", "least", "lower", "upper", QUANTILE, QUINTILE)
MOST_DEPTH = 200  # of an expression; a deeper one is no rule that anybody wrote
LOGIC = (exp.And, exp.Or, exp.Not, exp.Paren)
COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div)


@dataclass(frozen=True)
class Place:
    """Where a rule stands: what it is called, its file, and the line in which it begins."""

    what: str
    path: Path
    line: int

    def error(self, said: str, node: exp.Expression | None = None, line: int | None = None) -> InputError:
        """Say what is wrong with the rule, and in which line."""
        return InputError(f"{self.path}, line {self.line + (line or _line_of(node)) - 1}: {self.what} {said}")


@dataclass(frozen=True)
class Vocabulary:
    """What a rule may name: columns with their kind, numbers of the settings, and other rules that are expressions.

    `rule_named` gives the expression of another rule, None where there is none of that name; `names` lists them.
    """

    columns: Mapping[str, Kind]
    constants: Mapping[str, float]
    names: tuple[str, ...] = ()
    rule_named: Callable[[str], exp.Expression | None] = lambda _: None

    @property
    def known(self) -> list[str]:
        """Every name that a rule may use."""
        return [*self.columns, *self.constants, *self.names]


def parsed(text: str, place: Place) -> exp.Expression:
    """Read an expression.

    Raises
    ------
    InputError
        It is not SQL, or more than one expression.
    """
    try:
        found = [each for each in sqlglot.parse(text, dialect=DIALECT) if each is not None]
    except SqlglotError as error:
        first = (getattr(error, "errors", None) or [{}])[0]
        said = str(first.get("description") or error).splitlines()[0].replace("<class 'sqlglot.expressions.", "'")
        near = shortened(str(first.get("highlight") or first.get("start_context") or "").strip()[-40:])
        raise place.error(f"is no SQL expression ({said}), near {near!r}", line=first.get("line")) from error
    except RecursionError as error:
        raise place.error("nests deeper than any rule; mend it") from error
    if len(found) != 1 or _depth(found[0]) > MOST_DEPTH:
        raise place.error(f"is not one expression; found {shortened(text.strip())!r}")
    return found[0]


def checked(tree: exp.Expression, words: Vocabulary, place: Place) -> exp.Expression:
    """Hold an expression against the white list, and put other rules in the place of their names.

    Raises
    ------
    InputError
        It names something unknown, uses what is not allowed, compares texts with numbers, or is neither true nor false.
    """
    _Checker(words, place).boolean(tree)
    return tree.transform(lambda node: _inlined(node, words))


def compiled(tree: exp.Expression, words: Vocabulary) -> Rule:
    """Write a checked expression as DuckDB is asked: names quoted, flags as booleans, splits as columns."""
    return Rule(_asked(tree, words), tuple(_part(leaf, words) for leaf in _distinct(_leaves(tree))))


class _Checker:
    """Tells the kind of each node, and refuses what is not on the list."""

    def __init__(self, words: Vocabulary, place: Place) -> None:
        self.words, self.place = words, place
        self.by_node: dict[type[exp.Expression], Callable[..., Kind]] = {
            **dict.fromkeys((exp.And, exp.Or), self._both_true),
            **dict.fromkeys((exp.Not,), self._not),
            **dict.fromkeys(COMPARISONS, self._comparison),
            **dict.fromkeys(ARITHMETIC, self._arithmetic),
            **dict.fromkeys((exp.Like, exp.ILike), self._like),
            **dict.fromkeys((exp.Greatest, exp.Least, exp.Coalesce), self._alike),
            **dict.fromkeys((exp.Lower, exp.Upper), lambda node: self._of(node.this, "text")),
            **dict.fromkeys((exp.Neg, exp.Abs), lambda node: self._of(node.this, "number")),
            exp.Paren: lambda node: self.kind(node.this),
            exp.Between: self._between, exp.In: self._in, exp.Is: self._is,
            exp.Literal: lambda node: "text" if node.is_string else "number",
            exp.Boolean: lambda _: "boolean",
            exp.Column: self._column, exp.Quantile: self._quantile, exp.Anonymous: self._own_function,
        }  # fmt: skip

    def kind(self, node: exp.Expression | None) -> Kind:
        """Tell what a node yields."""
        if node is None:
            raise self.place.error("lacks what an operator or a function is asked of; write it out", node)
        check = self.by_node.get(type(node))
        if check is None:
            raise self._refused(node)
        return check(node)

    def boolean(self, node: exp.Expression) -> Kind:
        """Make sure that a node is true or false."""
        if self.kind(node) not in ("boolean", "flag"):
            raise self.place.error(f"needs something true or false where it has {_text(node)!r}; compare it", node)
        return "boolean"

    def _of(self, node: exp.Expression, wanted: Kind) -> Kind:
        found = self.kind(node)
        if found != wanted and not (wanted == "number" and found == "flag"):
            raise self.place.error(f"needs a {wanted} where it has {_text(node)!r}, a {found}", node)
        return wanted

    def _both_true(self, node: exp.Binary) -> Kind:
        self.boolean(node.left)
        return self.boolean(node.right)

    def _not(self, node: exp.Not) -> Kind:
        return self.boolean(node.this)

    def _comparison(self, node: exp.Binary) -> Kind:
        self._same(node, [node.left, node.right])
        return "boolean"

    def _arithmetic(self, node: exp.Binary) -> Kind:
        self._of(node.left, "number")
        return self._of(node.right, "number")

    def _like(self, node: exp.Binary) -> Kind:
        self._of(node.left, "text")
        self._of(node.right, "text")
        return "boolean"

    def _alike(self, node: exp.Func) -> Kind:
        return self._same(node, [node.this, *node.expressions] if node.this else node.expressions)

    def _between(self, node: exp.Between) -> Kind:
        self._same(node, [node.this, node.args["low"], node.args["high"]])
        return "boolean"

    def _in(self, node: exp.In) -> Kind:
        if not node.expressions or not all(isinstance(_bare(each), exp.Literal) for each in node.expressions):
            raise self.place.error("may ask by IN for a list of numbers or texts only", node)
        self._same(node, [node.this, *node.expressions])
        return "boolean"

    def _is(self, node: exp.Is) -> Kind:
        self.kind(node.this)
        if not isinstance(node.expression, exp.Null):
            raise self.place.error("may use IS for IS NULL and IS NOT NULL only", node)
        return "boolean"

    def _same(self, node: exp.Expression, values: list[exp.Expression]) -> Kind:
        kinds = [("number" if kind == "flag" else kind) for kind in map(self.kind, values)]
        if len(set(kinds)) > 1 or kinds[0] == "boolean":
            pairs = ", ".join(f"{_text(value)!r} (a {kind})" for value, kind in zip(values, kinds, strict=True))
            raise self.place.error(f"compares {pairs}; compare numbers with numbers and texts with texts", node)
        return "number" if kinds[0] == "number" else "text"

    def _column(self, node: exp.Column) -> Kind:
        name = node.name
        if len(node.parts) > 1 or name not in self.words.known:
            raise self.place.error(f"names {shortened(_text(node))!r}, which there is not; {self._near(name)}", node)
        return self.words.columns.get(name) or ("number" if name in self.words.constants else "boolean")

    def _quantile(self, node: exp.Quantile) -> Kind:
        share = node.args.get("quantile")
        if not isinstance(share, exp.Literal) or share.is_string or not 0 < float(share.name) < 1:
            raise self.place.error("needs a share between 0 and 1, such as quantile(spend_sum_28d, 0.8)", node)
        return self._of_column(node.this, QUANTILE)

    def _own_function(self, node: exp.Anonymous) -> Kind:
        if node.name.lower() != QUINTILE or len(node.expressions) != 1:
            raise self._refused(node)
        return self._of_column(node.expressions[0], QUINTILE)

    def _of_column(self, node: exp.Expression, function: str) -> Kind:
        if not isinstance(node, exp.Column) or node.name not in self.words.columns:
            self.kind(node)
            raise self.place.error(f"needs a column of numbers in {function}(...), and has {_text(node)!r}", node)
        return self._of(node, "number")

    def _near(self, name: str) -> str:
        return did_you_mean(name.lower(), self.words.known)

    def _refused(self, node: exp.Expression) -> InputError:
        if isinstance(node, exp.Func) and not isinstance(node, (exp.And, exp.Or)):
            name = node.name if isinstance(node, exp.Anonymous) else type(node).__name__
            return self.place.error(
                f"calls {shortened(name)!r}, which rules may not; {did_you_mean(name.lower(), FUNCTIONS)}", node
            )
        return self.place.error(
            f"has {shortened(_text(node))!r}, which rules may not say; they compare columns, by AND, OR and NOT", node
        )


def _inlined(node: exp.Expression, words: Vocabulary) -> exp.Expression:
    """Put another rule in the place of its name: who is not known to fulfil it does not."""
    other = words.rule_named(node.name) if isinstance(node, exp.Column) and node.name in words.names else None
    return node if other is None else exp.Coalesce(this=exp.paren(other.copy()), expressions=[exp.false()])


def _leaves(node: exp.Expression) -> Iterator[exp.Expression]:
    """List the comparisons of an expression: what AND, OR and NOT put together."""
    if isinstance(node, exp.Coalesce) and node.expressions == [exp.false()]:  # another rule
        yield from _leaves(node.this)
    elif isinstance(node, LOGIC):
        for child in node.iter_expressions():
            yield from _leaves(child)
    else:
        yield node


def _distinct(nodes: Iterator[exp.Expression]) -> list[exp.Expression]:
    return list({_text(node): node for node in nodes}.values())


def _part(leaf: exp.Expression, words: Vocabulary) -> Part:
    names = dict.fromkeys(node.name for node in leaf.find_all(exp.Column) if node.name in words.columns)
    splits = (_split(node) for node in leaf.find_all(exp.Quantile, exp.Anonymous))
    return Part(_text(leaf), _asked(leaf, words), tuple(names), tuple(dict.fromkeys(splits)))


def _split(node: exp.Expression) -> Split:
    if isinstance(node, exp.Quantile):
        return Split(node.this.name, float(node.args["quantile"].name))
    return Split(node.expressions[0].name, None)


def _asked(tree: exp.Expression, words: Vocabulary) -> str:
    """Write a boolean expression as DuckDB is asked."""
    copy = exp.paren(tree.copy())
    for leaf in list(_leaves(copy)):
        if isinstance(leaf, exp.Column) and words.columns.get(leaf.name) == "flag":
            leaf.replace(exp.NEQ(this=leaf.copy(), expression=exp.Literal.number(0)))
    return copy.transform(lambda node: _written(node, words)).sql(dialect=DIALECT)


def _written(node: exp.Expression, words: Vocabulary) -> exp.Expression:
    if isinstance(node, (exp.Quantile, exp.Anonymous)):
        return _quoted(_split(node).name)
    if isinstance(node, exp.Column) and node.name in words.constants:
        return exp.Literal.number(words.constants[node.name])
    if isinstance(node, exp.Column):
        return _quoted(node.name)
    if isinstance(node, exp.Div):  # by nothing is unknown, not infinite
        return exp.Div(this=node.left, expression=exp.func("NULLIF", node.right, exp.Literal.number(0)))
    return node


def _quoted(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))


def _bare(node: exp.Expression | None) -> exp.Expression | None:
    """Take a minus sign and brackets off."""
    while isinstance(node, (exp.Neg, exp.Paren)):
        node = node.this
    return node


def _text(node: exp.Expression) -> str:
    return node.sql(dialect=DIALECT, normalize_functions="lower")


def _line_of(node: exp.Expression | None) -> int:
    """Line of an expression in which something stands."""
    lines = (int(each.meta["line"]) for each in (node.dfs() if node is not None else ()) if "line" in each.meta)
    return min(lines, default=1)


def _depth(tree: exp.Expression) -> int:
    return max(node.depth for node in tree.dfs())
