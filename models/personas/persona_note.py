"""The result of a persona training: names and stability of the personas, or that there are no stable groups."""

from __future__ import annotations

from dataclasses import dataclass

from models.metrics.metric import Metric

STABLE = 0.70  # adjusted Rand index of refits that personas take
ABOVE_CHANCE = 0.20  # and by how much it must exceed that of shuffled columns
SMALLEST = 0.05  # share of the users in the smallest group


@dataclass(frozen=True)
class PersonaNote:
    """Names of the personas, none where no groups are stable; how far refits agree, and how far on shuffled columns.

    Shuffled columns are asked only where refits agree enough on the real ones; `by_chance` has no rows where they were
    not.
    """

    names: tuple[str, ...]
    stability: Metric
    by_chance: Metric

    @property
    def metrics(self) -> dict[str, Metric]:
        """Figures of a training."""
        agreed = {"personas.stability": self.stability, "personas.stability_shuffled": self.by_chance}
        asked = {name: metric for name, metric in agreed.items() if metric.n}
        return {"personas.groups": Metric.exact(len(self.names), len(self.names))} | asked

    def __str__(self) -> str:
        agreed = f"{self.stability.value:.2f} (adjusted Rand index)"
        if self.by_chance.n:
            agreed += f", with shuffled columns at {self.by_chance.value:.2f}"
        if self.names:
            return f"{len(self.names)} personas, on which refits agree at {agreed}: {'; '.join(self.names)}"
        if not self.stability.n:
            return f"no stable groups: habits differ too little, or groups are smaller than {SMALLEST:.0%} of the users"
        wanted = f"{STABLE:.2f}, and {ABOVE_CHANCE:.2f} above shuffled ones"
        return f"no stable groups: refits agree at {agreed}; it takes {wanted}"
