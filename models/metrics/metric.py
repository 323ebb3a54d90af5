"""`Metric`, a number with its interval, which every step reports; imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Metric:
    """A number with its 95% interval and the rows behind it; a count or a cost has ``low = high = value``."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def exact(cls, value: float, n: int) -> Metric:
        """Wrap a count or a cost, which has no sampling error."""
        return cls(float(value), float(value), float(value), int(n))

    def rounded(self) -> Self:
        """Round to six digits, as files keep it."""
        return replace(self, value=round(self.value, 6), low=round(self.low, 6), high=round(self.high, 6))

    def as_dict(self) -> dict[str, float]:
        """Return the fields, rounded to six digits, for JSON."""
        return {name: round(number, 6) for name, number in asdict(self).items()}

    def __str__(self) -> str:
        if self.low == self.high == self.value:
            return f"{self.value:,.4g}" if abs(self.value) < 1000 else f"{self.value:,.0f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Leak:
    """A column that tells too much: its AUC alone on the test rows, and what a better model is better by without it.

    `gain_without` is that model's gain over the simplest one without the column; None where it was not asked.
    """

    column: str
    auc_alone: float
    gain_without: Metric | None = None
