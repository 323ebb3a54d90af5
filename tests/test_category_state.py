"""Category state: counts that an update is added to are those of all rows at once, by hand and at random."""

import numpy as np
import pyarrow as pa
import pytest

from features.engine.category_state import CategoryCounts, CategoryState, RollingMaximum

WORDS = pa.array(["category:books", "category:games", "hour:7", "hour:9"])
BOOKS, GAMES, SEVEN, NINE = range(4)


def about(*rows: tuple[int, int, int, int]) -> CategoryCounts:
    """Rows of user, label, events and millionths."""
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return CategoryCounts(
        *(column.astype(number) for column, number in zip(columns, ("i4", "i4", "i4", "i8"), strict=True))
    )


def columns_of(state: CategoryState) -> dict[str, list[object]]:
    return {name: pa.array(values, from_pandas=True).to_pylist() for name, values in state.columns().items()}


def test_the_favourite_has_most_spend_then_most_events_then_the_first_name():
    rows = about((0, BOOKS, 5, 0), (0, GAMES, 1, 900), (1, BOOKS, 2, 0), (1, GAMES, 3, 0), (2, GAMES, 1, 0),
                 (2, BOOKS, 1, 0), (0, NINE, 1, 900), (0, SEVEN, 5, 0))  # fmt: skip
    assert columns_of(CategoryState.of(4, rows, WORDS)) == {
        "categories_count_90d": [2, 2, 2, 0],
        "favourite_category_90d": ["games", "games", "books", None],
        "favourite_category_spend_90d": [0.0009, 0, 0, None],
        "favourite_hour_90d": [7, None, None, None],
    }


def test_what_left_the_window_is_taken_off_and_others_stay_as_they_are():
    before = CategoryState.of(2, about((0, BOOKS, 2, 300), (0, GAMES, 1, 0), (1, BOOKS, 1, 0), (1, NINE, 1, 0)), WORDS)
    after = before.plus(about((0, BOOKS, -2, -300), (0, SEVEN, 1, 0)))
    assert columns_of(after) == {
        "categories_count_90d": [1, 1],
        "favourite_category_90d": ["games", "books"],
        "favourite_category_spend_90d": [0, 0],
        "favourite_hour_90d": [7, 9],
    }
    assert after.rows.user.tolist() == [0, 0, 1, 1]
    assert after.rows.label.tolist() == [GAMES, SEVEN, BOOKS, NINE]


def test_spend_changes_where_as_many_events_come_as_go():
    before = CategoryState.of(1, about((0, BOOKS, 2, 300), (0, GAMES, 1, 350)), WORDS)
    after = before.plus(about((0, BOOKS, -1, -100), (0, BOOKS, 1, 500)))
    assert after.rows.spend.tolist() == [700, 350] and columns_of(after)["favourite_category_90d"] == ["books"]


def test_users_and_labels_get_other_places():
    words = pa.array(["category:art", *WORDS.to_pylist()])
    before = CategoryState.of(3, about((0, BOOKS, 1, 0), (2, GAMES, 1, 0), (2, NINE, 1, 0)), WORDS)
    after = before.placed(np.array([1, -1, 2]), 4, np.arange(1, 5), words)
    assert columns_of(after) == {
        "categories_count_90d": [0, 1, 1, 0],
        "favourite_category_90d": [None, "books", "games", None],
        "favourite_category_spend_90d": [None, 0, 0, None],
        "favourite_hour_90d": [None, None, 9, None],
    }


def test_a_state_after_an_update_is_that_of_all_rows():
    rng = np.random.default_rng(7)
    for _ in range(20):
        rows = [about(*zip(rng.integers(0, 9, size), rng.integers(0, 4, size), rng.integers(1, 5, size),
                           rng.integers(0, 3, size) * 100, strict=True)) for size in (40, 6)]  # fmt: skip
        grown, whole = (
            CategoryState.of(9, rows[0], WORDS).plus(rows[1]),
            CategoryState.of(9, CategoryCounts.joined(rows), WORDS),
        )
        for one, other in zip([*grown.rows, *grown.favourites], [*whole.rows, *whole.favourites], strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


def test_keys_are_short_as_long_as_they_fit():
    few = CategoryCounts.of_any(*(np.array([0, 7]) for _ in range(4)))
    many = CategoryCounts.of_any(np.array([3, 99_999]), np.array([1, 99_999]), *(np.array([1, 1]) for _ in range(2)))
    assert (few.keys(10).dtype, few.keys(10).tolist()) == (np.int32, [0, 77])
    assert many.keys(100_000).tolist() == [300_001, 9_999_999_999]


@pytest.mark.parametrize("unit", [1, 10**9, 2**50])
def test_rolling_maxima_of_any_size_are_those_that_no_later_day_reaches(unit):
    users, days, values = [0, 0, 0, 1, 1, 40_000], [1, 2, 3, 1, 2, 2], [5, 3, 4, 0, 1, 2]
    rows = RollingMaximum(np.array(users), np.array(days), np.array(values) * unit)
    found = RollingMaximum.of([rows], 0)
    kept = [(0, 1, 5), (0, 3, 4), (1, 2, 1), (40_000, 2, 2)]
    assert list(zip(found.user.tolist(), found.day.tolist(), (found.value // unit).tolist(), strict=True)) == kept
