"""Scoring of users in batches: predictions, values and reasons, spooled to disk until the allocation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Lock
from typing import TypeVar

import numpy as np
import pandas as pd

from configs.offers import Catalogue
from configs.progress import in_turn
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import Feature, Unit
from features.training_data.contact_details import TIME_ZONE, own_zones
from models.learn.churn_causes import causes_of
from models.metrics.comeback_note import ComebackNote
from models.policy_value.policy_verdict import NO_TRIAL, PERSONAL, Trial
from models.registry.model_reader import Registered
from models.registry.response import ResponseModels
from serving.arms.policy_trial import with_trial
from serving.arms.win_back_draws import NOTHING_LEARNT, WinBackFindings
from serving.contact_rules.contact_history import ContactHistory, UserContacts
from serving.contact_rules.contact_rule import Rule, forbidden, kinds_of_why_not, unprofiled, unscored
from serving.contact_rules.rule_list import rules_of
from serving.decide.spooled_batches import Batch, Spool
from serving.messages.message_texts import MessageTexts, message_texts, unit_of
from serving.messages.reader_details import ReaderDetails
from serving.plays.play_rules import PlayRules
from serving.preferences.user_comebacks import comebacks
from serving.preferences.user_personas import UserPersonas
from serving.preferences.user_preferences import UserPreferences
from serving.segments.known_columns import PERSONA, STAGE
from serving.segments.rules import Stages
from serving.segments.stages import stages_of
from serving.stored_days import ledger
from serving.stored_days.day_tables import CAUSES
from serving.valuation.options import build_options
from serving.wording.explanations import add_risk_reasons, policy_reasons
from serving.wording.language_file import ENGLISH, Language, load_language
from serving.wording.reason_codes import Reasons
from serving.wording.reason_lists import ReasonLists

Frames = Sequence[Callable[[], pd.DataFrame]]
Found = TypeVar("Found")
OF_DECISIONS = (
    "user_id", "days_since_last_activity", "tenure_days", "favourite_category_90d", TIME_ZONE,
)  # fmt: skip
AT_ONCE = 2  # batches in memory: one is read and written while another is computed


@dataclass(frozen=True)
class Policy:
    """Everything that turns a frame of users into decisions; each model is None where the data could not teach it.

    `later_share` of what a user is worth comes after the margin in which effects are measured; `base_rate` is the share
    of all users of the day that is expected to leave. `fallback` says what stands in for a champion. `causes` says why
    contracts end, where users have some.
    """

    settings: Settings
    catalogue: Catalogue
    churn: Registered | None
    value: Registered | None
    response: ResponseModels | None
    language: Language = field(default_factory=lambda: load_language(ENGLISH))
    later_share: float = 1.0
    own_rules: tuple[Rule, ...] = ()
    contacts: ContactHistory = field(default_factory=ContactHistory)
    preferences: UserPreferences = field(default_factory=UserPreferences)
    base_rate: float = 0.0
    fallback: str = ""
    own_stages: Stages | None = None
    readers: ReaderDetails = field(default_factory=ReaderDetails)
    causes: Registered | None = None
    personas: UserPersonas = field(default_factory=UserPersonas)
    plays: PlayRules = field(default_factory=PlayRules)
    win_back: WinBackFindings = NOTHING_LEARNT
    comeback: ComebackNote | None = None

    @cached_property
    def stages(self) -> Stages:
        """Stages of the lifecycle: the app's own, which may speak of traits, else those that the settings name."""
        return self.own_stages or stages_of(self.settings)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Rules of eligibility: those of every app, then its own."""
        return (*rules_of(self.settings, self.catalogue), *self.own_rules)

    @cached_property
    def message_texts(self) -> MessageTexts:
        """The texts of the catalogue, in every language."""
        return message_texts(self.settings, self.catalogue, self.language)

    @cached_property
    def _columns(self) -> dict[str, Feature]:
        return {feature.name: feature for feature in declarations_of(self.settings).catalogue()}

    @property
    def snapshot_fields(self) -> dict[str, str]:
        """Fields of messages that a column of the snapshot tells, with its name."""
        used, fields = self.message_texts.fields, self.settings.messages.fields
        return {name: fields[name] for name in sorted(used & fields.keys()) if fields[name] in self._columns}

    @property
    def units(self) -> dict[str, Unit]:
        """What the numbers count that messages may say, by field."""
        fields = self.settings.messages.fields
        return {name: unit_of(column, self._columns) for name, column in fields.items()}

    def contacts_of(self, frame: pd.DataFrame) -> UserContacts:
        """Look up what earlier contacts forbid to the users of a frame."""
        return self.contacts.of(frame["user_id"], own_zones(frame, self.settings.time_zone))

    @property
    def trial(self) -> Trial:
        """The trial of policies that are not proven; mostly none."""
        personal = self.response.personal if self.response is not None else None
        return personal.trial if personal is not None else NO_TRIAL

    @property
    def takes_turns(self) -> bool:
        """Whether a simple policy decides, whose users take turns where the budget does not pay for all of them."""
        personal = self.response.personal if self.response is not None else None
        return personal is not None and personal.deployed.option is not None

    @property
    def settings_with_trial(self) -> Settings:
        """The settings, exploring as much as exploration and trial take together."""
        return with_trial(self.settings, self.trial)

    @property
    def why_nots(self) -> tuple[Reasons, ...]:
        """What is said of each kind of why not."""
        personal = self.response.personal if self.response is not None else None
        return tuple(kinds_of_why_not(self.rules, policy_reasons(personal.deployed) if personal is not None else ()))

    @property
    def model_versions(self) -> str:
        """Names of the models behind a decision."""
        names = [model.lineage.name for model in (self.churn, self.causes, self.value) if model is not None]
        if self.response is not None:
            names += [self.response.name] if self.response.name else []
            names += [self.response.personal.name] if self.response.personal else []
        return ", ".join(names)

    @property
    def version(self) -> str:
        """Short name of everything that makes the decisions."""
        own = "".join(f", rule {rule.code}" for rule in self.own_rules)
        noted = (model.notes_of for model in (self.value, self.response) if model is not None and model.notes_of)
        own += "".join(f", notes of {name}" for name in noted) + f", stages {self.stages.digest}"
        own += "".join(f", {offer} stopped" for offer in sorted(self.win_back.stopped))
        own += "".join(f", {offer} proven" for offer in sorted(self.win_back.proven))
        return ledger.policy_version(self.model_versions + own, self.settings, self.catalogue)

    @property
    def output_columns(self) -> set[str]:
        """Columns that a decision and its reasons are made of, once everything is predicted."""
        always = {
            *OF_DECISIONS,
            *CAUSES,
            *self.snapshot_fields.values(),
            STAGE,
            PERSONA,
            *(name for rule in self.rules for name in rule.columns),
        }
        personal = self.response.personal if self.response is not None else None
        if personal is None:
            return always
        own = {personal.deployed.column}
        if personal.deployed.name == PERSONAL:  # whose effects give reasons
            own |= {*personal.margin.estimator.columns, *personal.retention.estimator.columns}
        return always | {name for name in own if name is not None}


def score_all(policy: Policy, frames: Frames, spool: Spool, found_in: Callable[[int, Batch], Found]) -> Iterator[Found]:
    """Score every batch that is not spooled yet, several at once; yields what `found_in` finds in each, in order.

    A batch itself is in memory no longer than it is looked at.
    """
    one_reads = Lock()  # stores are not made for several readers at a time
    one_scores = Lock()  # on all cores: two at once would need twice the memory, and no less time

    def found(number: int) -> Found:
        if spool.has(number):
            return found_in(number, spool.get(number))
        with one_reads:
            frame = frames[number]()
        with one_scores:
            batch = score(policy, frame)
            del frame
        spool.put(number, batch)
        return found_in(number, batch)

    return in_turn((partial(found, number) for number in range(len(frames))), AT_ONCE)


def score(policy: Policy, frame: pd.DataFrame) -> Batch:
    """Predict risk, value and every option for a batch of users, and say what makes their risk."""
    settings = policy.settings
    active = ~unscored(policy.rules, frame)
    p_churn, value = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    reasons, known = ReasonLists(len(frame)), frame[active]
    if active.any() and policy.churn is not None:
        p_churn[active] = policy.churn.estimator.predict(known)
        add_risk_reasons(reasons, np.flatnonzero(active), policy.churn.estimator, known, settings.roles)
    if active.any() and policy.value is not None:
        value[active] = policy.value.estimator.predict(known)
    causes = _causes(policy, p_churn, known, active)
    del known
    remaining = policy.later_share * value
    groups = {STAGE: policy.stages.of(frame), PERSONA: policy.personas.of(frame, active)}
    told = {"p_churn": p_churn, "retained_value": value, "remaining_value": remaining, **groups}
    grouped = frame.assign(**groups, **causes, **policy.plays.holds(frame, told))
    found = forbidden(policy.rules, grouped, policy.contacts_of(frame), policy.catalogue)
    risk = None if policy.churn is None else p_churn
    options = build_options(frame, risk, remaining, found, policy.response, policy.catalogue, settings)
    options = options.impersonal(unprofiled(policy.rules, frame))
    kept = grouped[[name for name in grouped.columns if name in policy.output_columns]]
    back = comebacks(policy.comeback, policy.rules, frame)
    return Batch(kept, p_churn, value, remaining, *back, reasons.build(~np.isnan(p_churn)), options)


def _causes(policy: Policy, p_churn: Floats, scored: pd.DataFrame, active: Flags) -> dict[str, Floats]:
    """Split the chances to leave by their causes, each of shape (users,); nothing where users have no contracts."""
    if policy.causes is None:
        return {}
    share = np.full(len(p_churn), np.nan)
    if active.any():
        share[active] = policy.causes.estimator.predict(scored)
    return dict(zip(CAUSES, causes_of(p_churn, share), strict=True))
