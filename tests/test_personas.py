"""Personas: planted ones are found, shuffled ones are not, names persist, and users move only past a margin."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import adjusted_rand_score
from test_short_days import decided, known

from configs.errors import InputError
from features.arrays.array_types import Floats, Places
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from features.training_data.taste_shares import COLUMN as TASTE
from models.metrics.metric import Metric
from models.personas.habits import HABITS, SETS, Scale, scale_of
from models.personas.persona_model import MARGIN, NOBODY, PersonaModel
from models.personas.persona_note import PersonaNote
from models.personas.persona_training import find_personas
from models.personas.stored_personas import latest_personas, write_personas
from serving.memberships.persona_cards import apart_words, persona_cards, set_apart
from serving.preferences.user_personas import UserPersonas, UsersOf, read_personas
from serving.wording.language_file import load_language
from serving.wording.rendering import Words

AS_OF = date(2024, 7, 1)
COLUMNS = [habit.column for habit in HABITS]
# money, basket, days, absence, irregularity, breadth, discounts, hour, opens, redemptions, views, weekends
KINDS = np.array(
    [
        [600, 60, 10, 5, 0.6, 30, 0.05, 19, 0.1, 1, 5, 0.3],
        [80, 12, 9, 5, 0.6, 5, 0.35, 9, 0.6, 12, 60, 0.3],
        [60, 40, 2, 30, 1.5, 4, 0.05, 19, 0.1, 1, 5, 0.3],
        [500, 25, 30, 2, 0.3, 40, 0.3, 9, 0.6, 12, 60, 0.3],
    ]
)
# two more, apart by when they come and by what they buy alone: shares of coffee, tea and pots
TASTES = [f"{TASTE}{group}" for group in ("coffee", "tea", "pots")]
USUAL = [200, 25, 10, 7, 0.6, 12, 0.15, 14, 0.3, 4, 15]
ALL_KINDS = np.vstack(
    [np.c_[KINDS, np.full((4, 3), 0.2)], [*USUAL, 0.85, 0.2, 0.2, 0.2], [*USUAL, 0.3, 0.8, 0.1, 0.05]]
)


def planted(users: int, seed: int, kinds: Floats = KINDS) -> tuple[pd.DataFrame, Places]:
    """Users of some kinds, each around the habits of its kind, with the kind of each."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(kinds), users)
    values = kinds[kind] * np.exp(rng.normal(0, 0.35, (users, kinds.shape[1])))
    frame = pd.DataFrame(values, columns=[*COLUMNS, *TASTES][: kinds.shape[1]])
    frame["favourite_hour_90d"] = np.round(kinds[kind, COLUMNS.index("favourite_hour_90d")] + rng.normal(0, 2, users))
    shares = ["weekend_share_90d", *(name for name in TASTES if name in frame)]
    frame[shares] = frame[shares].clip(upper=1.0)
    frame.loc[rng.random(users) < 0.1, "open_share_90d"] = np.nan
    frame.insert(0, "user_id", [f"u{place:05d}" for place in range(users)])
    return frame, kind


def shuffled(users: int, seed: int) -> pd.DataFrame:
    """The same columns, in which nothing goes with anything."""
    frame, rng = planted(users, seed, ALL_KINDS)[0], np.random.default_rng(seed)
    return frame.assign(**{name: rng.permutation(frame[name]) for name in (*COLUMNS, *TASTES)})


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return find_personas(planted(600, 1)[0], seed=0)


def test_planted_personas_are_found_and_refits_agree(model):
    frame, kind = planted(600, 2)
    assert len(KINDS) <= len(model.names) == len(set(model.names)) <= len(KINDS) + 1  # a clear group is not cut up
    assert adjusted_rand_score(kind, model.personas_of(frame)) >= 0.85
    assert model.note.stability.value >= 0.7
    assert model.note.stability.value >= model.note.by_chance.value + 0.2
    assert model.share.sum() == pytest.approx(1)
    assert str(model.note).startswith(f"{len(model.names)} personas, on which refits agree at ")


def test_who_comes_at_weekends_or_buys_one_thing_is_a_persona_of_that_name():
    model = find_personas(planted(900, 1, ALL_KINDS)[0], seed=0)
    frame, kinds = planted(600, 2, ALL_KINDS)
    found = model.personas_of(frame)
    assert model.tastes == ("coffee", "tea", "pots")
    assert adjusted_rand_score(kinds, found) >= 0.85
    assert model.note.stability.value >= max(0.7, model.note.by_chance.value + 0.2)
    for kind, word in ((4, "weekend"), (5, "mostly coffee")):
        is_named = np.array([word in name.split(", ") for name in model.names])
        assert is_named.any()
        assert (is_named[found] == (kinds == kind)).mean() >= 0.95


@pytest.mark.parametrize(("stable", "taken"), [((2, 4, 4), 1), ((4, 4, 3), 0), ((0, 0, 3), 2), ((0, 0, 0), 0)])
def test_that_set_of_columns_is_taken_in_which_most_groups_are_stable_of_equals_the_richest(monkeypatch, stable, taken):
    frame, numbers = planted(50, 1, ALL_KINDS)[0], iter(stable)

    def of_so_many(scale: Scale, *_: object) -> PersonaModel:
        names = tuple("abcd"[: next(numbers)])
        return replace(line(), scale=scale, note=replace(line().note, names=names))

    monkeypatch.setattr("models.personas.persona_training._find_on", of_so_many)
    assert find_personas(frame, seed=0).scale.columns == scale_of(frame, SETS[taken]).columns


@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(4, 13))])
def test_shuffled_columns_have_no_stable_groups(seed):
    found = find_personas(shuffled(600, seed), seed)
    assert found.names == ()
    assert str(found.note).startswith("no stable groups: ")
    assert found.personas_of(shuffled(5, seed)).tolist() == [NOBODY] * 5


def test_a_column_that_most_do_not_have_or_all_have_alike_is_none():
    frame = planted(200, 1)[0].assign(open_share_90d=np.nan, views_count_28d=0.0)
    assert {*COLUMNS} - {*scale_of(frame).columns} == {"open_share_90d", "views_count_28d"}
    assert "weekend_share_90d" not in scale_of(frame, ("buying",)).columns
    assert find_personas(frame[["user_id"]], seed=0).names == ()


def test_names_are_two_or_three_words_and_stay_when_it_is_learnt_anew(model):
    assert all(2 <= len(name.split(", ")) <= 3 for name in model.names)
    known = {word for habit in HABITS for word in (habit.high, habit.low)}
    assert {word for name in model.names for word in name.split(", ")} <= known
    letters = tuple("abcdefgh"[: len(model.names)])
    own = replace(model, note=replace(model.note, names=letters))
    again = find_personas(planted(600, 1)[0].iloc[:550], seed=7, last=own)
    assert len({*again.names} & {*letters}) >= len(KINDS)
    frame, _ = planted(300, 6)
    before, now = (np.array(each.names)[each.personas_of(frame)] for each in (own, again))
    assert (before == now).mean() > 0.7
    far = replace(own, centroids=own.centroids + 9)
    assert not {*letters} & {*find_personas(planted(600, 1)[0], seed=7, last=far).names}


def line() -> PersonaModel:
    """Two personas, ten standard deviations apart on one column: 0 and 10."""
    columns = ("discount_share_90d",)
    frame = pd.DataFrame({columns[0]: [0.0, 1.0]})
    scale = replace(
        scale_of(frame), least=np.array([-99.0]), most=np.array([99.0]), mean=np.zeros(1), spread=np.ones(1)
    )
    note = PersonaNote(("few", "many"), Metric.exact(0.9, 2), Metric.exact(0.2, 2))
    centroids = np.array([[0.0], [10.0]])
    return PersonaModel(scale, centroids, centroids, np.array([5.0]), np.array([0.5, 0.5]), note)


def test_a_user_moves_only_past_the_margin():
    edge = 10 / (2 - MARGIN)  # here the gaps x and 10 - x are in the ratio 1 to 1 - MARGIN
    frame = pd.DataFrame({"discount_share_90d": [5.1, edge - 0.01, edge + 0.01, 5.1, 4.9]})
    before = np.array([0, 0, 0, NOBODY, 1])
    assert line().personas_of(frame).tolist() == [1, 1, 1, 1, 0]
    assert line().personas_of(frame, before).tolist() == [0, 0, 1, 1, 1]


def test_the_day_before_is_read_and_who_is_not_active_is_nobody(tmp_path):
    lake, day_before = Lake(tmp_path), date(2024, 6, 30)
    assert read_personas(lake, AS_OF, days_of({})).model is None
    write_personas(lake, AS_OF, line())
    rows = pa.table({"user_id": ["a", "b", "c"], "persona": pa.array(["few", None, "gone"], pa.string())})
    write_parquet(rows, lake.partition("decisions", day_before))
    found = read_personas(lake, AS_OF, days_of({}))
    frame = pd.DataFrame({"user_id": list("abcd"), "discount_share_90d": [5.1] * 4})
    named = found.of(frame, np.array([True, True, True, False]))
    assert named.tolist() == ["few", "many", "many", None]
    assert found.digest != UserPersonas(found.model).digest


def days_of(values: dict[date, list[float | None]], read: list[date] | None = None) -> UsersOf:
    """Give the users a, b, … of some days, two in a batch, by their shares; who has none is not active."""

    def users_of(day: date, tastes: tuple[str, ...]):
        assert tastes == ()
        (read if read is not None else []).append(day)
        frame = pd.DataFrame({"user_id": list("abcd"), "discount_share_90d": np.array(values[day], float)})
        for batch in (frame[:2], frame[2:]):
            yield batch, batch["discount_share_90d"].notna().to_numpy()

    return users_of


def named_today(lake: Lake, values: dict[date, list[float | None]]) -> tuple[list[str], list[date]]:
    """Name users who are all a bit nearer to "many" today, where only who was "few" yesterday is "few"."""
    read: list[date] = []
    frame = pd.DataFrame({"user_id": list("abcd"), "discount_share_90d": [5.1] * 4})
    return read_personas(lake, AS_OF, days_of(values, read)).of(frame, np.full(4, True)).tolist(), read


def decided_as(lake: Lake, day: date, personas: list[str | None], rows_known: int) -> None:
    decided(lake, day, rows_known)
    rows = pa.table({"user_id": list("abcd"), "persona": pa.array(personas, pa.string())})
    write_parquet(rows, lake.partition("decisions", day))


@pytest.fixture
def lake(tmp_path) -> Lake:
    """An app with two personas, of which 100 daily rows were known three days ago, and 10 came late for the next."""
    found = Lake(tmp_path)
    write_personas(found, date(2024, 6, 1), line())
    known(found, date(2024, 6, 20), {date(2024, 6, 20): 100})
    known(found, date(2024, 6, 28), {date(2024, 6, 28): 10})
    decided_as(found, date(2024, 6, 28), ["few", "few", None, "few"], 100)
    return found


def test_nights_short_of_events_are_carried_on_over_by_what_is_known_now(lake):
    for day in (date(2024, 6, 29), date(2024, 6, 30)):
        decided_as(lake, day, ["many", "few", "few", "few"], 100)
    # a stays few; b moves past 10 / 1.9 = 5.263 and stays; c was none; d is not active, and none after that
    shares = {date(2024, 6, 29): [5.26, 5.27, 5.1, 5.1], date(2024, 6, 30): [5.1, 5.1, 4.9, None]}
    assert named_today(lake, shares) == (["few", "many", "many", "many"], [*shares])
    decided_as(lake, date(2024, 6, 30), ["many", "few", "few", "few"], 110)  # an ordinary night after all
    assert named_today(lake, {}) == (["many", "few", "few", "few"], [])


def test_a_night_that_was_missed_is_carried_on_over_as_far_as_there_are_snapshots(lake):
    decided_as(lake, date(2024, 6, 29), ["few", "many", None, "few"], 110)
    shares = {date(2024, 6, 30): [5.3, 4.8, 4.9, 5.2]}
    assert named_today(lake, {}) == (["few", "many", "many", "few"], [])
    write_parquet(pa.table({"user_id": list("abcd")}), lake.partition("snapshots", date(2024, 6, 30)))
    assert named_today(lake, shares) == (["many", "many", "few", "few"], [*shares])
    decided_as(lake, date(2024, 6, 29), ["few", "many", None, "few"], 100)  # short, and its snapshot is gone
    lake.files.remove(lake.partition_name("snapshots", date(2024, 6, 29)))
    assert named_today(lake, shares) == (["many", "many", "few", "few"], [*shares])


def test_each_day_is_carried_on_by_the_newest_model_of_then(lake):
    for day in (date(2024, 6, 29), date(2024, 6, 30)):
        decided_as(lake, day, ["many"] * 4, 100)
    other = replace(line(), note=replace(line().note, names=("many", "few")))  # the other way round
    write_personas(lake, date(2024, 6, 30), other)
    # from the 30th on few is at 10: a, who was few, and b, who was many, stay it at 4.9, and b to d at 5.1
    shares = {date(2024, 6, 29): [4.0, 6.0, 4.0, 6.0], date(2024, 6, 30): [4.9, 4.9, 0.0, 0.0]}
    assert named_today(lake, shares) == (["few", "many", "many", "many"], [*shares])


def test_a_model_is_kept_whole_and_the_same_again(tmp_path, model):
    contents = []
    for lake in (Lake(tmp_path / "one"), Lake(tmp_path / "two")):
        write_personas(lake, AS_OF, model)
        contents.append(lake.partition("personas", AS_OF).read_bytes())
    assert contents[0] == contents[1]
    kept = latest_personas(lake, AS_OF)
    frame, _ = planted(50, 9)
    assert kept.note == model.note
    assert kept.personas_of(frame).tolist() == model.personas_of(frame).tolist()
    assert np.array_equal(kept.medians, model.medians, equal_nan=True)
    assert latest_personas(lake, AS_OF - timedelta(days=1)) is None
    write_personas(lake, AS_OF, find_personas(frame[["user_id"]], seed=0))
    assert latest_personas(lake, AS_OF).names == ()
    write_parquet(pa.table({"x": [1]}), lake.partition("personas", AS_OF))
    with pytest.raises(InputError, match="train-models --as-of 2024-07-01"):
        latest_personas(lake, AS_OF)


def test_what_sets_a_persona_apart_is_told_in_words(tmp_path):
    lake, words = Lake(tmp_path), Words(load_language("de"))
    assert persona_cards(lake, AS_OF) == []
    assert words.persona("frequent, deal-seeking, no. 2") == "häufig, auf Rabatte aus, no. 2"
    assert words.persona("weekend, mostly green tea") == "am Wochenende, vor allem green tea"
    assert apart_words(((f"{TASTE}tea", 0.5, 0.1),), words, "{label}: {theirs}") == [
        "Anteil von tea an den Käufen, letzte 90 Tage: 50\N{NO-BREAK SPACE}%"
    ]
    apart = set_apart(line(), "many")
    assert apart == (("discount_share_90d", 10.0, 5.0),)
    assert apart_words(apart, words, "{theirs} / {usual}") == ["10 / 5"]
    assert set_apart(line(), "gone") == ()


def test_every_language_has_a_word_for_every_habit():
    known = {"mostly", *(word for habit in HABITS for word in (habit.high, habit.low))}
    for name in ("en", "de"):
        assert load_language(name).personas.keys() == known
