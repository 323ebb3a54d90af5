"""Comparisons inside a rule as data: columns, operator and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.segments.language import DIALECT
from serving.segments.rules import QUINTILE

OPERATORS: dict[type[exp.Expression], str] = {
    exp.GT: "above", exp.GTE: "at_least", exp.LT: "below", exp.LTE: "at_most", exp.EQ: "equal", exp.NEQ: "not_equal",
}  # fmt: skip
TURNED = {"above": "below", "at_least": "at_most", "below": "above", "at_most": "at_least"}
OTHER = "other"
Value = float | str
FIFTHS = range(1, 6)


class Comparison(NamedTuple):
    """How columns are compared: `kind` is an operator, ``between``, ``one_of``, ``missing``, ``holds`` or `OTHER`.

    With `fifths` a column is compared by the fifth of the users that its value is in, and those are the ones that
    fulfil it; with `share` by the number that this share of the users do not exceed. `OTHER` are comparisons that
    calculate, of which only the columns are told.
    """

    kind: str
    columns: tuple[str, ...]
    values: tuple[Value, ...] = ()
    fifths: tuple[int, ...] = ()
    share: float | None = None


def comparison_of(text: str, constants: Mapping[str, float]) -> Comparison:
    """Read a part of a rule; `constants` are the numbers of the settings that it may name.

    Examples
    --------
    >>> comparison_of("spend_sum_28d > churn_horizon_days", {"churn_horizon_days": 28})
    Comparison(kind='above', columns=('spend_sum_28d',), values=(28.0,), fifths=(), share=None)
    >>> comparison_of("quintile(spend_sum_28d) >= 4", {}).fifths
    (4, 5)
    >>> comparison_of("spend_sum_28d * 2 > spend_sum_90d", {})[:2]
    ('other', ('spend_sum_28d', 'spend_sum_90d'))
    """
    try:
        tree = sqlglot.parse_one(text, dialect=DIALECT)
    except SqlglotError:
        return Comparison(OTHER, ())
    while isinstance(tree, exp.Paren):
        tree = tree.this
    names = (node.name for node in tree.find_all(exp.Column, bfs=False) if node.name not in constants)
    columns = tuple(dict.fromkeys(names))
    return _simple(tree, columns, constants) or Comparison(OTHER, columns)


def _simple(tree: exp.Expression, columns: tuple[str, ...], constants: Mapping[str, float]) -> Comparison | None:
    """Read the comparison of one column with values; None of any other."""
    if isinstance(tree, exp.Column):
        return Comparison("holds", columns)
    if len(columns) != 1:
        return None
    if isinstance(tree, exp.Is):
        return Comparison("missing", columns) if isinstance(tree.this, exp.Column) else None
    kind, side, others = _sides(tree)
    if kind is None or side is None:
        return None
    if len(others) == 1 and isinstance(others[0], exp.Quantile) and isinstance(side, exp.Column):
        return Comparison(kind, columns, share=float(others[0].args["quantile"].name))
    values = tuple(value for other in others if (value := _value(other, constants)) is not None)
    if len(values) != len(others):
        return None
    if _is_quintile(side):
        return Comparison(kind, columns, fifths=_fifths(kind, values))
    return Comparison(kind, columns, values) if isinstance(side, exp.Column) else None


def _sides(tree: exp.Expression) -> tuple[str | None, exp.Expression | None, list[exp.Expression]]:
    """Tell how something is compared, what that is, and with what."""
    if isinstance(tree, exp.Between):
        return "between", tree.this, [tree.args["low"], tree.args["high"]]
    if isinstance(tree, exp.In):
        return "one_of", tree.this, tree.expressions
    kind = OPERATORS.get(type(tree))
    if kind is None or not isinstance(tree, exp.Binary):
        return None, None, []
    if isinstance(tree.left, exp.Column) or _is_quintile(tree.left):
        return kind, tree.left, [tree.right]
    return TURNED.get(kind, kind), tree.right, [tree.left]


def _is_quintile(node: exp.Expression) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.lower() == QUINTILE


def _value(node: exp.Expression, constants: Mapping[str, float]) -> Value | None:
    sign = 1.0
    while isinstance(node, exp.Neg | exp.Paren):
        sign, node = -sign if isinstance(node, exp.Neg) else sign, node.this
    if isinstance(node, exp.Literal):
        return str(node.name) if node.is_string else sign * float(node.name)
    is_constant = isinstance(node, exp.Column) and node.name in constants
    return sign * float(constants[node.name]) if is_constant else None


def _fifths(kind: str, values: tuple[Value, ...]) -> tuple[int, ...]:
    """List the fifths that a comparison with whole numbers means."""
    numbers = [float(value) for value in values]
    first = numbers[0]
    asked: dict[str, Callable[[int], bool]] = {
        "above": lambda each: each > first, "at_least": lambda each: each >= first, "below": lambda each: each < first,
        "at_most": lambda each: each <= first, "equal": lambda each: each == first,
        "not_equal": lambda each: each != first, "one_of": lambda each: each in numbers,
        "between": lambda each: first <= each <= numbers[-1],
    }  # fmt: skip
    return tuple(each for each in FIFTHS if asked[kind](each))
