"""Whether a discount is personal: the levels given so far, and the sentence about them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import WORDS, offer

from configs.offers import Catalogue
from features.storage.lake import Lake
from models.policy_value.policy_verdict import CONSTANT, PERSONAL
from serving.decide.discount_evidence import LevelsGiven, levels_given, why_discounts
from serving.wording.rendering import stored

DAY = date(2024, 7, 1)
PLAN = "winback plan-experiment says which levels to try, on how many people, for how long and at what cost"
CATALOGUE = Catalogue(offers=(offer("bundle"), offer("come_back"), offer("plain"), offer("unproven")))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Bundle at one level, come_back at two without a draw, plain at two at random; what comes later is not known."""
    lake = Lake(tmp_path)
    rows = [("bundle", 0.1, None), ("come_back", 0.1, None), ("come_back", 0.2, 1.0), ("none", 0.0, 0.5),
            ("plain", 0.1, 0.25), ("plain", 0.2, 0.25), ("plain", 0.1, 0.25)]  # fmt: skip
    write(lake, date(2024, 6, 1), rows)
    write(lake, DAY, [("unproven", 0.3, 0.5)])
    return lake


def write(lake: Lake, day: date, rows: list[tuple[str, float, float | None]]) -> None:
    names, levels, propensities = zip(*rows, strict=True)
    table = {"offer_id": names, "discount": levels, "propensity": pa.array(propensities, pa.float64())}
    path = lake.partition("treatments", day)
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({name: pa.array(column) for name, column in table.items()}), path)


def test_the_levels_given_are_told_with_whether_chance_chose_them(lake):
    assert levels_given(lake, DAY, CATALOGUE) == [
        LevelsGiven("bundle", (0.1,), ()),
        LevelsGiven("come_back", (0.1, 0.2), ()),
        LevelsGiven("plain", (0.1, 0.2), (0.1, 0.2)),
        LevelsGiven("unproven", (), ()),
    ]


@pytest.mark.parametrize(
    ("deployed", "sentences"),
    [
        (
            None,
            ["a discount is not personal here, as the levels cannot be told apart, because: Bundle was only ever given "
             "at 10%", "the levels of Come_Back were never drawn at random",
             "the levels of Plain were drawn at random", "Unproven was never given", PLAN],
        ),
        (
            CONSTANT,
            ["a discount is not personal here: several levels were drawn at random, "
             "but this did not prove that choosing for "
             "each user brings more than one level for all", PLAN],
        ),
        (
            PERSONAL,
            ["a discount is personal here: several levels were drawn at random, "
             "and each user gets the cheapest one whose next "
             "step would cost more than it brings"],
        ),
    ],
)  # fmt: skip
def test_one_sentence_says_why_a_discount_is_personal_or_is_not(lake, deployed, sentences):
    found = WORDS.sentence(stored(why_discounts(lake, DAY, CATALOGUE, deployed)))
    assert found == "; ".join(sentences)


def test_where_chance_did_not_choose_among_levels_no_gate_makes_a_discount_personal(lake):
    only = Catalogue(offers=CATALOGUE.offers[:2])
    said = WORDS.sentence(stored(why_discounts(lake, DAY, only, PERSONAL)))
    assert said.startswith("a discount is not personal here, as the levels cannot be told apart")
    assert why_discounts(lake, DAY, Catalogue(offers=()), None) == ()
