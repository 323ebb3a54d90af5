"""The gate of decisions: a personal policy is deployed only if held-out lots say it beats every simpler one.

On real data a naive argmax of estimated effects often loses to "the same for everybody"; this is where that shows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.evaluation import Floats, Metric
from models.off_policy import Logged, PolicyValue, doubly_robust_scores, doubly_robust_value, value_difference
from models.uplift import MODERATORS, Option

Choice = npt.NDArray[np.intp]
NOBODY, CONSTANT, RULE, RANKING, PERSONAL = "nobody", "constant", "rule", "response ranking", "personal"
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
P_REDEEM = "p_redeem"


@dataclass(frozen=True)
class Evidence:
    """Held-out facts about every row of a lot; shapes (rows,), (options,) or (rows, options).

    `net` is the outcome in account currency, after the discount and the contact were paid; `effect` and `usual` are
    what models that did not see the row's user expect an option to change, costs included, and of *nothing*.
    `action` is -1 for *nothing* and ``len(options)`` for an option that is no longer on the menu.
    """

    options: tuple[Option, ...]
    action: Choice
    propensity: Floats
    user_ids: pd.Series
    fold: Choice
    net: Floats
    usual: Floats
    effect: Floats
    p_redeem: Floats
    columns: pd.DataFrame

    @property
    def logged(self) -> Logged:
        """The lots as off-policy estimators read them: 0 is *nothing*."""
        return Logged(self.action + 1, self.propensity, self.net, self.user_ids)

    @property
    def predicted(self) -> Floats:
        """Expected outcome of *nothing*, of every option and of what is off the menu; shape (rows, 2 + options)."""
        return np.c_[self.usual, self.usual[:, None] + self.effect, self.usual]

    @property
    def scores(self) -> Floats:
        """Doubly robust scores of *nothing* and of every option; shape (rows, 1 + options)."""
        return doubly_robust_scores(self.logged, self.predicted)[:, :-1]


@dataclass(frozen=True)
class Deployed:
    """The policy that decides from now on.

    A simple one gives one `option` to everybody, or to those whose `column` lies above (or not above) `threshold`.
    """

    name: str
    option: Option | None = None
    column: str | None = None
    threshold: float = 0.0
    is_above: bool = True

    @classmethod
    def from_notes(cls, notes: dict[str, Any]) -> Deployed:
        """Read a policy back from JSON."""
        option = notes["option"]
        return cls(**{**notes, "option": None if option is None else (option[0], float(option[1]))})

    def as_dict(self) -> dict[str, object]:
        """Return the fields for JSON."""
        return asdict(self)

    def applies_to(self, columns: pd.DataFrame, p_redeem: Floats) -> npt.NDArray[np.bool_]:
        """Say who gets the option of a simple policy; `p_redeem` (rows,) is that of the option."""
        if self.name == NOBODY or self.option is None:
            return np.zeros(len(columns), dtype=bool)
        if self.column is None:
            return np.ones(len(columns), dtype=bool)
        values = p_redeem if self.column == P_REDEEM else columns[self.column].to_numpy(dtype=np.float64)
        return np.asarray((np.nan_to_num(values) > self.threshold) == self.is_above)

    def __str__(self) -> str:
        if self.name in (NOBODY, PERSONAL) or self.option is None:
            return self.name
        what = f"{self.option[0]} at {self.option[1]:.0%}"
        if self.column is None:
            return f"{what} for everybody"
        return f"{what} where {self.column} is {'above' if self.is_above else 'at most'} {self.threshold:.4g}"


@dataclass(frozen=True)
class PolicyVerdict:
    """What the gate decided: the policy, why, and every candidate's value a head against *nobody*."""

    deployed: Deployed
    reason: str
    gains: dict[str, PolicyValue]
    lead: PolicyValue
    values: dict[str, PolicyValue]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Values and gains under the names that ``--json`` prints."""
        named = {f"policy.gain_{name.replace(' ', '_')}": gain for name, gain in self.gains.items()}
        return {**named, "policy.lead_of_personal": self.lead}


def judge_policies(evidence: Evidence) -> PolicyVerdict:
    """Value every candidate on rows that neither its models nor its choices saw, and choose.

    From *nobody* on, a simple candidate takes the lead when its doubly robust gain over the leader lies above 0 with
    its whole 95% interval; the personal policy must do so against each of them. Unknown is not better.
    """
    scores = evidence.scores
    candidates = {name: _cross_chosen(evidence, scores, name) for name in (NOBODY, CONSTANT, RULE, RANKING)}
    candidates[PERSONAL] = personal_choice(evidence.effect)
    values = {
        name: doubly_robust_value(evidence.logged, choice, evidence.predicted) for name, choice in candidates.items()
    }

    def gain(new: str, old: str) -> PolicyValue:
        return value_difference(evidence.logged, candidates[new], candidates[old], predicted=evidence.predicted)

    leader = NOBODY
    for name in (CONSTANT, RULE, RANKING):
        leader = name if gain(name, leader).low > 0 else leader
    gains = {name: gain(name, NOBODY) for name in candidates if name != NOBODY}
    leads = {name: gain(PERSONAL, name) for name in candidates if name != PERSONAL}
    narrowest = min(leads, key=lambda name: leads[name].low)
    lead = leads[narrowest]
    if lead.low > 0:
        reason = f"personal beats every simpler policy; over {narrowest} by {_words(lead)} a head"
        return PolicyVerdict(Deployed(PERSONAL), reason, gains, lead, values)
    simple = simple_policy(evidence, scores, leader, np.ones(len(scores), dtype=bool))
    more = f"personal is worth {_words(lead)} a head more than {narrowest}"
    reason = f"{leader} stays: {more}, which does not lie above 0"
    return PolicyVerdict(simple, reason, gains, lead, values)


def personal_choice(effect: Floats) -> Choice:
    """Pick the option with the highest expected gain of every row, 0 where none is above 0; shape (rows,)."""
    return np.where(effect.max(axis=1) > 0, effect.argmax(axis=1) + 1, 0).astype(np.intp)


def simple_policy(evidence: Evidence, scores: Floats, name: str, rows: npt.NDArray[np.bool_]) -> Deployed:
    """Choose the best simple policy of a kind by the doubly robust scores of some rows."""
    gain = (scores[:, 1:] - scores[:, :1])[rows]
    if name == NOBODY:
        return Deployed(NOBODY)
    if name == CONSTANT:
        return Deployed(CONSTANT, evidence.options[int(gain.mean(axis=0).argmax())])
    return _best_rule(evidence, gain, rows) if name == RULE else _best_ranking(evidence, gain, rows)


def _best_rule(evidence: Evidence, gain: Floats, rows: npt.NDArray[np.bool_]) -> Deployed:
    """Split at the median of each column in turn and give one side its best option."""
    found: list[tuple[float, Deployed]] = []
    for column in (name for name in MODERATORS if name in evidence.columns.columns):
        values = np.nan_to_num(evidence.columns[column].to_numpy(dtype=np.float64))[rows]
        threshold = float(np.median(values))
        for is_above in (True, False):
            total = gain[(values > threshold) == is_above].sum(axis=0)
            policy = Deployed(RULE, evidence.options[int(total.argmax())], column, threshold, is_above)
            found.append((float(total.max()), policy))
    return max(found, key=lambda pair: pair[0])[1] if found else Deployed(NOBODY)


def _best_ranking(evidence: Evidence, gain: Floats, rows: npt.NDArray[np.bool_]) -> Deployed:
    """Give an option to the share of users who are likeliest to use it."""
    found: list[tuple[float, Deployed]] = []
    for place, option in enumerate(evidence.options):
        likely = evidence.p_redeem[rows, place]
        for share in SHARES:
            threshold = float(np.quantile(likely, 1 - share))
            policy = Deployed(RANKING, option, P_REDEEM, threshold)
            found.append((float(gain[likely > threshold, place].sum()), policy))
    return max(found, key=lambda pair: pair[0])[1]


def _cross_chosen(evidence: Evidence, scores: Floats, name: str) -> Choice:
    """Choices of a simple policy whose parameters the other folds of users chose; 0 is *nothing*."""
    choice = np.zeros(len(scores), dtype=np.intp)
    places = {option: place for place, option in enumerate(evidence.options)}
    for k in np.unique(evidence.fold):
        inside = evidence.fold == k
        policy = simple_policy(evidence, scores, name, ~inside)
        if policy.option is not None:
            place = places[policy.option]
            applies = policy.applies_to(evidence.columns[inside], evidence.p_redeem[inside, place])
            choice[inside] = np.where(applies, place + 1, 0)
    return choice


def _words(value: PolicyValue) -> str:
    return f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]" if value.is_known else "an unknown amount"
