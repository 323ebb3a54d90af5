"""The promise ratio, realised over predicted gain, by which later predictions are multiplied."""

from __future__ import annotations

from dataclasses import dataclass

from models.metrics.metric import Metric

ALL = "all"


@dataclass(frozen=True)
class PromiseRatio:
    """Realised over predicted gain, of all offers (`ALL`) or of one play.

    `promised` and `shown` are means a head over the comparisons; `ratio` is what promises are multiplied by: shown by
    promised, pulled to what was known before by how uncertain it is.
    """

    subject: str
    promised: float
    shown: Metric
    ratio: Metric

    def as_dict(self) -> dict[str, object]:
        """Return the fields, rounded, for JSON."""
        shown, ratio = self.shown.as_dict(), self.ratio.as_dict()
        return {"subject": self.subject, "promised": round(self.promised, 6), "shown": shown, "ratio": ratio}
