"""The verdict of the gate for decisions: the deployed policy, and the estimated value of each candidate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from configs.offers import Option
from features.arrays.array_types import Flags, Floats
from models.learn.paid_costs import AS_EXPECTED, CostRatios
from models.metrics.metric import Metric

if TYPE_CHECKING:
    import pandas as pd

NOBODY, CONSTANT, RULE, RANKING, PERSONAL = "nobody", "constant", "rule", "response ranking", "personal"
P_REDEEM = "p_redeem"
MIN_EFFECTIVE = 30.0  # users, fewer than which there is no number
ON_TRIAL, WAITING, RETIRED = "on trial", "waiting", "retired"
NO_MONEY = "what effects are worth is not known, because no event brings money"
REFUTED = "nobody gets an offer, as what was drawn refutes the stated propensities of {}: they prove nothing"


def level_text(level: float, digits: int = 3) -> str:
    """Write a discount in percent, with decimals where it has some.

    Examples
    --------
    >>> level_text(0.1), level_text(0.121), level_text(0.003), level_text(1.0)
    ('10%', '12.1%', '0.3%', '100%')
    """
    return f"{100 * level:.{digits}g}%"


def option_names(options: Sequence[Option]) -> list[str]:
    """Name options by their offers, with as much of the discount as tells the levels of an offer apart.

    Examples
    --------
    >>> option_names([Option("mail", 0.0), Option("call", 0.1234), Option("call", 0.12341)])
    ['mail', 'call at 12.34%', 'call at 12.341%']
    """
    levels = Counter(offer for offer, _ in options)
    for digits in range(3, 17):
        names = [offer if levels[offer] == 1 else f"{offer} at {level_text(level, digits)}" for offer, level in options]
        if len(set(names)) == len(names):
            break
    return names


@dataclass(frozen=True)
class PolicyValue(Metric):
    """Mean outcome per decision under a policy, in account currency, with its 95% interval.

    `effective_sample_size` says how many equally weighted users the estimate rests on (Kish 1965). When they are too
    few, or their outcomes are all the same, `value` is NaN and the interval is infinite, and `why_unknown` says which.
    The interval leans on the normal distribution: an outcome that is rare or heavy-tailed wants many more users than
    the minimum.
    """

    effective_sample_size: float = float("nan")

    @property
    def is_known(self) -> bool:
        """Whether there was enough data for a number."""
        return not math.isnan(self.value)

    def __str__(self) -> str:
        size = f"{self.effective_sample_size:,.0f} effective users"
        return f"{super().__str__()} from {size}" if self.is_known else f"{self.why_unknown}: {size}"

    @property
    def why_unknown(self) -> str:
        """Why there is no number, where there is none.

        Examples
        --------
        >>> unknown = (float("nan"), float("-inf"), float("inf"))
        >>> PolicyValue(*unknown, 800, 274.0).why_unknown, PolicyValue(*unknown, 800, 12.0).why_unknown
        ('outcomes equal', 'not enough data')
        """
        return "outcomes equal" if self.effective_sample_size >= MIN_EFFECTIVE else "not enough data"


@dataclass(frozen=True)
class Deployed:
    """The policy that decides from now on.

    A simple one gives one `option` to everybody, or to those whose `column` lies above (or not above) `threshold`, or
    is (or is not) the text `category`. What is not known of somebody counts as 0, when a rule is learnt (its median,
    and whom it picks) and when it decides; an unknown text is no category.
    """

    name: str
    option: Option | None = None
    column: str | None = None
    threshold: float = 0.0
    is_above: bool = True
    category: str | None = None

    def applies_to(self, columns: pd.DataFrame, p_redeem: Floats) -> Flags:
        """Say who gets the option of a simple policy; `p_redeem` (rows,) is that of the option."""
        if self.name == NOBODY or self.option is None:
            return np.zeros(len(columns), dtype=bool)
        return self.divides(columns, p_redeem)

    def divides(self, columns: pd.DataFrame, p_redeem: Floats | None = None) -> Flags:
        """Say who lies on the policy's side of its column, whatever is given there; everybody without one."""
        if self.column is None:
            return np.ones(len(columns), dtype=bool)
        if self.category is not None:
            return np.asarray((columns[self.column].astype(object) == self.category) == self.is_above)
        if self.column == P_REDEEM and p_redeem is not None:
            values = p_redeem
        else:
            values = columns[self.column].to_numpy(dtype=np.float64)
        return np.asarray((np.nan_to_num(values) > self.threshold) == self.is_above)

    def __str__(self) -> str:
        if self.name in (NOBODY, PERSONAL) or self.option is None:
            return self.name
        what = f"{self.option[0]} at {level_text(self.option[1])}"
        if self.column is None:
            return f"{what} for everybody"
        if self.category is not None:
            return f"{what} where {self.column} is {'' if self.is_above else 'not '}{self.category}"
        return f"{what} where {self.column} is {'above' if self.is_above else 'at most'} {self.threshold:.4g}"


@dataclass(frozen=True)
class Arm:
    """A policy of a trial: the `share` of the trial's users that it decides for.

    The budget pays it for a `part` of those whom it chooses; the others of its users get nothing.
    """

    policy: Deployed
    share: float
    part: float = 1.0


@dataclass(frozen=True)
class Trial:
    """Policies that decide for a `share` of the users, who are drawn at random anew every day.

    `arms` share those users out; the policy that is proven is one of them. What the arms may spend together is
    `budget_share` of the budget. Of *personal* each unit of money is charged with `price`, so that it fits the budget.
    """

    arms: tuple[Arm, ...] = ()
    share: float = 0.0
    budget_share: float = 0.0
    price: float = 0.0


NO_TRIAL = Trial()


@dataclass(frozen=True)
class Rung:
    """Where a candidate stands on the ladder, against the policy that is proven.

    `state` is one of `ON_TRIAL`, `WAITING` and `RETIRED`. `gain` a head has an interval that holds at every look,
    `p_better` is the probability that it is above 0, `share` the share of all users that it decides for, within the
    `step` that its evidence allows.
    """

    policy: Deployed
    state: str
    gain: PolicyValue
    p_better: float
    share: float = 0.0
    step: float = 0.0


@dataclass(frozen=True)
class Ladder:
    """Candidates that are not proven, and the trial of those that the evidence speaks for.

    `may_lose` is the most a head that the trial may lose by its evidence or its costs, `allowed` what settings allow.
    """

    rungs: tuple[Rung, ...]
    trial: Trial
    may_lose: float
    allowed: float

    def __str__(self) -> str:
        tried = [f"{rung.policy} for {rung.share:.0%} of users" for rung in self.rungs if rung.state == ON_TRIAL]
        retired = [str(rung.policy) for rung in self.rungs if rung.state == RETIRED]
        parts = [("on trial", tried), ("retired, as proven worse", retired)]
        return "; ".join(f"{state}: {', '.join(names)}" for state, names in parts if names) or "nothing is on trial"


class ShownChange(NamedTuple):
    """What randomised offers showed of those whom a simple policy picks, a head of them, in account currency.

    `gain` is what its option changed before it was paid for, `worth` what it is worth that they stay.
    """

    gain: float
    worth: float


@dataclass(frozen=True)
class PolicyVerdict:
    """What the gate decided: the policy, and every candidate's value a head against *nobody*; none without money.

    Where the stated chances of options are `refuted` by what was drawn, nothing is proven and nobody gets an offer.
    `lead` is that of the personal policy over `against`, the simpler one that it beats least or not at all.
    `ladder` is what may be tried although it is not proven; None where nothing was judged or personal decides.
    `costs` is what those cost whom the personal policy picks, beside what is expected of them. `believed` is how much
    is true of what its picks are expected to change where it decides, `shown` what a simple policy's picks changed.
    """

    deployed: Deployed
    gains: dict[str, PolicyValue]
    lead: PolicyValue
    values: dict[str, PolicyValue]
    ladder: Ladder | None = None
    costs: CostRatios = AS_EXPECTED
    believed: float = 1.0
    shown: ShownChange | None = None
    against: str = ""
    refuted: tuple[str, ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether the personal policy decides only because it did before, and is still ahead by a standard error."""
        return self.deployed.name == PERSONAL and not self.lead.low > 0

    @property
    def is_the_same(self) -> bool:
        """Whether the personal policy gives everybody what the simpler one does: there is nothing to compare."""
        return self.lead.low == self.lead.high == 0.0

    @property
    def who_decides(self) -> str:
        """Name the policy that decides; where it gives nothing, say why."""
        if self.deployed.name != NOBODY:
            return f"{self.deployed} decides"
        if self.refuted:
            return self.reason
        why = "no policy is proven to bring more" if self.gains else NO_MONEY
        return f"nobody gets an offer{' outside of the trial' if self.trial.arms else ''}, as {why}"

    @property
    def reason(self) -> str:
        """Say why in English, as the registry and the command line do."""
        if self.refuted:
            return REFUTED.format(", ".join(self.refuted))
        if not self.gains:
            return NO_MONEY
        lead, against = self.lead, self.against or "what is simpler"
        ladder = f"; {self.ladder}" if self.ladder is not None else ""
        if self.is_the_same:
            gives = "nothing to anybody" if against == NOBODY else f"everybody what {against} gives"
            return f"{self.deployed.name} stays: personal gives {gives}{ladder}"
        told = f"{lead.value:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]" if lead.is_known else "an unknown amount"
        if self.deployed.name == PERSONAL:
            goes_on = ", and goes on, as it is still ahead by a standard error" if self.goes_on else ""
            return f"personal beats what is simpler; over {against} by {told} a head{goes_on}"
        return (
            f"{self.deployed.name} stays: personal is worth {told} a head more than {against}, which does not lie "
            f"above 0{ladder}"
        )

    @property
    def is_corrected(self) -> bool:
        """Whether the personal policy decides, and its costs or effects are others than models expect."""
        return self.deployed.name == PERSONAL and (self.costs, self.believed) != (AS_EXPECTED, 1.0)

    @property
    def trial(self) -> Trial:
        """The trial that runs, which may be none."""
        return self.ladder.trial if self.ladder is not None else NO_TRIAL

    @property
    def metrics(self) -> dict[str, Metric]:
        """Values and gains under the names that ``--json`` prints; none where nothing was judged."""
        if not self.gains:
            return {}
        named = {f"policy.gain_{name.replace(' ', '_')}": gain for name, gain in self.gains.items()}
        return {**named, "policy.lead_of_personal": self.lead}
