"""Everything an operator may set, in one frozen, fully described model read from TOML."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from configs.categories import Categories
from configs.churn_settings import Churn
from configs.contact import Contact
from configs.custom_features import CustomFeature, check_names
from configs.errors import did_you_mean
from configs.guard_settings import Guards
from configs.ladder_settings import Ladder
from configs.learning_settings import Response, Training, Value
from configs.message_settings import Messages
from configs.named_files import FOLDER, read_toml
from configs.onboarding import Onboarding
from configs.profile_layers import Layer, laid_over, profile_files, read_layer, with_raw_beside
from configs.retention import LONGEST_WINDOW, Retention, needed_days, too_short
from configs.schedule_settings import Schedule, TimeZone
from configs.section import Count, Days, Money, Section, Share, Word
from configs.segment_settings import Segments
from configs.send_time import SendTime
from configs.spark_settings import Spark
from configs.stores import Stores, addresses_of_environment
from configs.tastes import Tastes
from configs.validated_model import validated
from configs.win_back import WinBack

DATA_DIR_VARIABLE = "WINBACK_DATA_DIR"

EventNames = tuple[Word, ...]
FIRST_DAY = date(1990, 1, 2)  # that may be decided: no event is older than the one before
Day = Annotated[date, Field(ge=FIRST_DAY, lt=date(2200, 1, 1))]
Engine = Literal["duckdb", "spark"]
OF_TREATMENTS, OFFERS_FILE = "treatments", "offers.toml"  # offers of an experiment, which ingest writes of what it gave
# no figure depends on these
MACHINES = {"engine", "spark", "threads", "memory_gib", "data_dir", "schedule", "stores", "language", "retention"}


class Roles(Section):
    """Which event names play which part; features and labels speak of these roles only."""

    activity: EventNames = Field(description="shows that the user is still here; the churn label rests on it")
    value: EventNames = Field(description="brings money in (`amount`)")
    refund: EventNames = Field(description="takes money back (negative `amount`)")
    session: EventNames = Field(description="opens a session")
    view: EventNames = Field(description="looks at an item")
    cart: EventNames = Field(description="puts an item into the cart")
    checkout: EventNames = Field(description="begins to pay")
    onboarding: EventNames = Field(
        max_length=16, description="completes a first step in the app; an event name each, in the order of the steps"
    )
    message_sent: EventNames = Field(description="receives a message of ours")
    message_opened: EventNames = Field(description="opens a message of ours")
    offer_redeem: EventNames = Field(description="uses an offer")
    payment_failure: EventNames = Field(description="tries to pay and fails")
    cancellation: EventNames = Field(description="ends the contract or removes the app")
    opt_out: EventNames = Field((), description="wants no more messages by the event's `channel`, or by none at all")
    opt_in: EventNames = Field((), description="takes an opt-out back, by the event's `channel` or all of them")
    renewal: EventNames = Field((), description="begins or renews a contract; who has none is under none")

    @field_validator("activity")
    @classmethod
    def _somebody_is_seen(cls, activity: EventNames) -> EventNames:
        if not activity:
            raise ValueError("names no event, so that nobody can be seen to stay or to leave; name at least one")
        return activity


class Ingest(Section):
    """Where raw data comes from and how much dirt is tolerated."""

    source: str = Field(description="name of a file in configs/sources, or the path of a SQL file")
    raw: str = Field(
        description="folder that the source reads; `package:NAME/SUB` is a folder inside an installed package"
    )
    also_reads: tuple[str, ...] = Field((), description="further folders and files that the source may read")
    source_minutes: int = Field(ge=1, le=10_080, description="a source that takes longer is interrupted")
    max_bad_share: Share = Field(
        description="a run stops when more than this share of a table's rows breaks the contract"
    )
    max_amount: float = Field(gt=0, le=1e10, description="an amount beyond this, in account currency, is absurd")
    clock_skew_minutes: int = Field(
        ge=0, le=1440, description="an event may be received this long before it happened: clocks differ"
    )
    max_late_days: Days = Field(
        description="an event that is received later than this after it happened is counted when it came: its clock "
        "was wrong"
    )


class Features(Section):
    """How often and how far back snapshots are taken."""

    snapshot_every_days: Days = Field(description="distance between the snapshots that models learn from")
    min_history_days: Days = Field(description="a snapshot needs at least this much history before it")
    max_trait_values: Count = Field(gt=1, description="a text trait with more distinct values than this is no feature")
    protected: tuple[Word, ...] = Field(
        description="columns of `users` that are no trait, so that no model, snapshot or segment knows them; the audit "
        "of fairness does"
    )
    custom: Annotated[dict[str, CustomFeature], AfterValidator(check_names)] = Field(
        {}, description="the app's own columns, a table each (features/README.md)"
    )


class Exploration(Section):
    """How options are drawn at random for some users, to learn what works."""

    share: Share = Field(description="share of the users who draw their option at random today, drawn anew every day")
    budget_share: Share = Field(
        description="most of the budget that randomised offers may cost; fewer users explore where it would not do"
    )
    method: Literal["softmax", "thompson", "uniform"] = Field(
        description="what the draw favours: options worth more, options that may be best given how little is known, "
        "or none"
    )
    temperature: Money = Field(
        gt=0, description="softmax: an option worth this much more, account currency, is drawn 2.7 times as often"
    )
    floor: float = Field(
        gt=0, le=0.5, description="least probability of every option that may be tried, and of giving nothing"
    )


class Scoring(Section):
    """How users become decisions."""

    budget: Money = Field(
        description="most that the expected discounts and contacts of one day may cost, account currency"
    )
    batch_users: int = Field(
        gt=0,
        le=10_000_000,
        description="users scored at a time; of all others only worth and cost of their options are in memory",
    )
    control_share: Share = Field(description="share of the users in the stable control group, never treated")
    business_as_usual_share: Share = Field(
        description="share of the users in the stable group that is left to the campaigns the company runs already"
    )
    high_risk: Share = Field(description="P(churn) from which the risk band is `high`, if it is above the average")
    medium_risk: Share = Field(description="P(churn) from which the risk band is `medium`, if it is above the average")
    channel_capacity: dict[Word, Annotated[int, Field(ge=0, le=10**15)]] = Field(
        description="most users that may be contacted through a channel in one day; one that is not named has no limit"
    )
    exploration: Exploration
    ladder: Ladder


class Settings(Section):
    """The whole configuration of one app."""

    app: Word = Field(description="name of the app, as the report shows it")
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO code of the account currency")
    time_zone: TimeZone = Field(description="IANA name of the zone whose midnight begins a day")
    as_of: Day | None = Field(None, description="moment of decision for a history that has ended; unset means today")
    seed: int = Field(ge=0, lt=2**31, description="source of every random draw")
    threads: int = Field(ge=0, le=1024, description="threads of DuckDB and LightGBM, 0 = all cores")
    memory_gib: float = Field(
        ge=0.25, le=4096, description="memory that a DuckDB may hold before it spills to the data folder, in GiB"
    )
    engine: Engine = Field(
        description="what computes features and decisions: DuckDB on this machine, or Spark, which gives the same"
    )
    offers: str = Field(
        description="name of a file in configs/offers, or the path of a TOML file; `none`, or `treatments`: what the "
        "treatments of an experiment gave"
    )
    language: str = Field(
        description="language of messages, report and answers of commands: a file in configs/languages, or the path of "
        "a TOML file"
    )
    data_dir: Path = Field(description="where everything that a run makes is kept")
    profile: str = Field(description="name of the profile these settings came from")
    roles: Roles
    ingest: Ingest
    features: Features
    churn: Churn
    value: Value
    response: Response
    training: Training
    scoring: Scoring
    win_back: WinBack
    contact: Contact
    messages: Messages
    send_time: SendTime
    tastes: Tastes
    categories: Categories
    onboarding: Onboarding
    guards: Guards
    segments: Segments
    retention: Retention
    schedule: Schedule
    stores: Stores
    spark: Spark

    @model_validator(mode="after")
    def _bands_are_ordered(self) -> Settings:
        if self.scoring.medium_risk > self.scoring.high_risk:
            raise ValueError(
                f"scoring.medium_risk = {self.scoring.medium_risk} exceeds "
                f"scoring.high_risk = {self.scoring.high_risk}; lower it"
            )
        return self

    @model_validator(mode="after")
    def _what_is_needed_is_kept(self) -> Settings:
        own = [days for custom in self.features.custom.values() for days in custom.windows]
        needed = needed_days(
            horizon=max(self.churn.horizon_days, self.churn.lookback_days, self.value.horizon_days),
            holdout=max(self.training.holdout_days, self.response.holdout_days),
            step=self.features.snapshot_every_days,
            longest=max([LONGEST_WINDOW, *own]),
        )
        if fault := too_short(self.retention, needed):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _roles_are_known(self) -> Settings:
        for name, custom in self.features.custom.items():
            if custom.role is not None and custom.role not in Roles.model_fields:
                near = did_you_mean(custom.role, Roles.model_fields)
                raise ValueError(f"features.custom.{name} counts the role {custom.role!r}, which there is not; {near}")
        return self

    @model_validator(mode="after")
    def _steps_are_known(self) -> Settings:
        for name in self.onboarding.names:
            if name not in self.roles.onboarding:
                near = did_you_mean(name, self.roles.onboarding)
                raise ValueError(f"onboarding.names says how {name!r} is called, no step of roles.onboarding; {near}")
        return self

    @model_validator(mode="after")
    def _contracts_are_seen(self) -> Settings:
        if self.churn.kind == "cancellation" and not self.roles.renewal:
            raise ValueError(
                "churn.kind = 'cancellation' needs roles.renewal, so that it is seen who is under contract; name the "
                "events that begin or renew one"
            )
        return self

    @model_validator(mode="after")
    def _groups_fit(self) -> Settings:
        control, as_usual = self.scoring.control_share, self.scoring.business_as_usual_share
        if control + as_usual > 1 + 1e-9:
            raise ValueError(
                f"scoring.control_share = {control} and scoring.business_as_usual_share = {as_usual} are more than "
                "all users together; lower one"
            )
        return self


def load_settings(
    profile: str | None = None, data_dir: Path | None = None, kept: Layer | None = None, **overrides: object
) -> Settings:
    """Read the defaults, lay a profile over them and check every key.

    Parameters
    ----------
    profile
        Name of a TOML file in ``configs/profiles``, or a path to one; several, joined by commas, are laid over each
        other, and the first gives its name; None takes the defaults alone.
    data_dir
        Overrides the folder for everything a run makes (else ``WINBACK_DATA_DIR``, else the TOML). Addresses of
        ``stores`` come from the environment where that has some.
    kept
        Layer below the profile's files, such as what a data folder keeps of its own; ``profile`` in it is its name.
    **overrides
        Sections or values laid over the profile, as dictionaries; notebooks and tests use it.

    Raises
    ------
    InputError
        A file is missing or not TOML, a key is unknown or a value is out of range.

    Examples
    --------
    >>> load_settings("online_retail").churn.horizon_days
    91
    >>> load_settings(churn={"horizont_days": 7})
    Traceback (most recent call last):
        ...
    configs.errors.InputError: 'churn.horizont_days' in the overrides is not a setting; did you mean 'horizon_days'?
    """
    layers, files = read_toml(FOLDER / "defaults.toml"), profile_files(profile)
    where, names = "the defaults", [path.stem for path in files]
    if kept is not None:
        layers, where, names = laid_over(layers, kept), "the data folder's profile", [str(kept["profile"])]
    layers = with_raw_beside(layers, files)
    for path in files:
        layers, where = laid_over(layers, read_layer(path)), str(path)
    if overrides:
        layers, where = laid_over(layers, overrides), "the overrides"
    given = data_dir or os.environ.get(DATA_DIR_VARIABLE) or layers["data_dir"]
    chosen = Path(given).absolute() if isinstance(given, str | Path) else given
    layers = laid_over(layers, {"stores": addresses_of_environment()})
    layers |= {"data_dir": chosen, "profile": [*names, "defaults"][0]}
    if layers["offers"] == OF_TREATMENTS:
        layers |= {"offers": os.path.join(str(chosen), OFFERS_FILE)}  # noqa: PTH118 - what is no path is refused below
    return validated(Settings, layers, where)


def is_about_machines(profile: str) -> bool:
    """Tell whether a profile says nothing about an app, so that it can be laid over any.

    Examples
    --------
    >>> is_about_machines("spark"), is_about_machines("simulated,spark")
    (True, False)
    """
    return all(read_toml(path).keys() <= MACHINES for path in profile_files(profile))
