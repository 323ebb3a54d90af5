"""The contract: the three tables that everything after ingestion may rely on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a contract table; `kind` is text, instant, number or flag."""

    name: str
    kind: str
    meaning: str
    required: bool = False

    @property
    def is_id(self) -> bool:
        """Whether it names somebody or something, so that two ways to write it are two of them."""
        return self.name.endswith("_id")


@dataclass(frozen=True)
class Table:
    """One contract table: its columns, the key that makes a row unique and the instant that dates it."""

    name: str
    key: str
    instant: str | None
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    def spelt(self, name: str) -> str:
        """Spell a column as the contract does, which knows no case, as SQL does not."""
        return name.lower() if name.lower() in self.names else name


LEAST_PROPENSITY = "0.000001"  # of a treatment: whoever states less says that what was drawn could not be drawn
CONSENT = "consent_"  # begins the columns that say what a user agrees to
SQL_TYPES = {"text": "VARCHAR", "instant": "TIMESTAMPTZ", "number": "DOUBLE", "flag": "BOOLEAN"}

EVENTS = Table(
    "events",
    key="event_id",
    instant="occurred_at",
    columns=(
        Column("event_id", "text", "unique name of the event; a repeated row is dropped once", required=True),
        Column("user_id", "text", "who", required=True),
        Column("event_name", "text", "what happened, after Firebase/GA4 where it has a word for it", required=True),
        Column("occurred_at", "instant", "when it happened", required=True),
        Column("received_at", "instant", "when it became known here; missing means at once"),
        Column("amount", "number", "money received, account currency, negative for refunds"),
        Column("discount", "number", "money given away inside this event, account currency"),
        Column("quantity", "number", "pieces"),
        Column("item_id", "text", "what was viewed, carted or bought"),
        Column("item_category", "text", "its category"),
        Column("channel", "text", "channel of a message"),
        Column("offer_id", "text", "offer that was seen or redeemed"),
        Column("decision_id", "text", "decision that led to the event"),
        Column("session_id", "text", "session or basket that the event belongs to"),
        Column("device", "text", "device"),
        Column("country", "text", "country"),
        Column("properties", "text", "anything else, as JSON"),
    ),
)

USERS = Table(
    "users",
    key="user_id",
    instant=None,
    columns=(
        Column("user_id", "text", "who", required=True),
        Column("known_from", "instant", "since when the row holds; else the day of its ingest"),
        Column("signed_up_at", "instant", "when the account was opened"),
        Column("country", "text", "country"),
        Column("time_zone", "text", "IANA name of the user's time zone"),
        Column("device", "text", "main device"),
        Column("acquisition_source", "text", "how the user was won"),
        Column("language", "text", "language"),
        Column("birth_year", "number", "for the fairness audit, never for a model"),
        Column("gender", "text", "for the fairness audit, never for a model"),
        *(
            Column(f"{CONSENT}{what}", "flag", f"the user agrees to {what.replace('_', ' ')}")
            for what in ("profiling", "push", "email", "sms", "in_app", "whatsapp")
        ),
    ),
)

TREATMENTS = Table(
    "treatments",
    key="decision_id",
    instant="decided_at",
    columns=(
        Column("decision_id", "text", "unique name of the decision; derived from user, instant and offer when missing"),
        Column("user_id", "text", "who", required=True),
        Column("decided_at", "instant", "when the option was chosen", required=True),
        Column("offer_id", "text", "what was given; `none` where nothing was, as to the control group", required=True),
        Column("discount", "number", "discount level, share of the price", required=True),
        Column("channel", "text", "how it reached the user", required=True),
        Column(
            "propensity",
            "number",
            f"probability with which this option was chosen, {LEAST_PROPENSITY} or more; missing when unknown",
        ),
        Column("cost", "number", "cost of the contact, account currency"),
        Column("valid_until", "instant", "when the offer ended; else the catalogue's `valid_days` after the decision"),
        Column(
            "outcome",
            "number",
            "what came of it, account currency: after what the offer gave away, before `cost`; "
            "an experiment that says so needs no events",
        ),
        Column("outcome_at", "instant", "when the outcome was known; else `churn.horizon_days` after the decision"),
        Column("is_holdout", "flag", "kept out of every training, to judge policies by; missing means no"),
    ),
)

ALIASES = Table(
    "aliases",
    key="old_user_id",
    instant="since",
    columns=(
        Column(
            "old_user_id", "text", "id that turned out to be somebody, such as an anonymous visitor's", required=True
        ),
        Column("user_id", "text", "who that is", required=True),
        Column("since", "instant", "since when that is known, such as the first sign-in", required=True),
    ),
)

CONTRACT = (EVENTS, USERS, TREATMENTS)
OF_EXPERIMENTS = ("outcome", "outcome_at", "is_holdout")
AUDIT_ONLY = ("birth_year", "gender")
