"""The Jinja environment that report and desk share: templates, filters and number formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import CodeType

import pandas as pd
from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket
from jinja2.runtime import Context

from configs.settings import Settings
from serving import charts
from serving.charts.chart_frame import ChartWords
from serving.guards.guard_findings import Finding
from serving.wording.page_texts import PageTexts, install
from serving.wording.rendering import Words

STYLES = Path(charts.__file__).parent  # of the pages and of the charts


class _CompiledOnce(BytecodeCache):
    """Keeps what templates were compiled to while the process runs: it is the same in every language."""

    def __init__(self) -> None:
        self.codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the code of a template that was compiled from the same source before."""
        bucket.code = self.codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        if bucket.code is not None:
            self.codes[bucket.key, bucket.checksum] = bucket.code


_COMPILED = _CompiledOnce()


def chart_words(words: Words) -> ChartWords:
    """Let charts speak as the pages around them do."""
    return ChartWords(words.say, words.figures.plain, words.figures.percent, words.language.marks)


def _called(finding: Finding, words: Words) -> Finding:
    """Call a column that drifted as people call it."""
    if finding.guard != "input_drift":
        return finding
    return replace(finding, subject=words.say("“{label}”", label=words.label(finding.subject)))


def page_environment(folders: Sequence[Path], settings: Settings, words: Words) -> Environment:
    """Open the templates of some folders; every value is escaped, and a name that is not known is an error."""
    environment = Environment(
        loader=FileSystemLoader([*folders, STYLES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[PageTexts],
        bytecode_cache=_COMPILED,
    )
    install(environment, words.language.pages)
    figures = words.figures
    filters: dict[str, Callable[..., object]] = {
        "risk_word": lambda user: words.risk(user["risk_band"], user["p_churn"], settings.scoring.medium_risk),
        "thousands": figures.thousands,
        "percent": figures.percent,
        "benefit": lambda row: words.benefit(row["offer_id"], row["discount"]),
        "points": figures.points,
        "signed": figures.a_head,
        "decimal": figures.decimal,
        "day": figures.a_day,
        "money": figures.money,
        "moment": figures.moment,
        "contact": lambda instant: figures.contact(pd.Timestamp(instant).tz_convert("UTC")),
        "term": words.term,
        "sentence": words.sentence,
        "parts": words.parts,
        "drivers": words.drivers,
        "label": words.label,
        "group": lambda stage: words.group(stage, stage.replace("_", " ").capitalize()),
        "persona": words.persona,
        "category": words.category,
        "value": words.value,
        "instant": lambda instant: figures.moment(pd.Timestamp(instant).tz_convert("UTC")),
        "guard_sentence": lambda finding, day: _called(finding, words).words(day, words.say, words.language.weekday),
        "short": figures.short,
        "arm": words.arm,
        "signed_count": partial(figures.signed, decimals=0),
        "first_up": lambda text: text[:1].upper() + text[1:],
    }
    environment.filters |= {name: _when_filled_in(each) for name, each in filters.items()}
    environment.globals["lang"] = words.language.tag
    environment.tests["missing"] = pd.isna
    return environment


def _when_filled_in(words: Callable[..., object]) -> Callable[..., object]:
    """Let a filter wait for the page: of constants it would else be compiled in, in one language for all."""

    @pass_context
    def filled_in(_: Context, *given: object, **named: object) -> object:
        return words(*given, **named)

    return filled_in
