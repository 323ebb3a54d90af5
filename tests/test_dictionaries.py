"""Texts as whole numbers: the same places however the texts come."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.arrays import dictionaries as module
from features.arrays.dictionaries import encoded_together, merged_sorted, ordinal_encoded, sorted_dictionary

TEXTS = st.lists(st.sampled_from(["", "a", "ab", "b", "B", "é", "日", "𝄞"]), max_size=12)


@given(TEXTS, st.booleans(), st.booleans())
def test_places_are_those_among_the_words_in_order(texts, is_sorted, is_dictionary):
    texts = sorted(texts) if is_sorted else texts
    column = pa.array(texts, pa.string())
    places, words = ordinal_encoded(column.dictionary_encode() if is_dictionary else column)
    assert words.to_pylist() == sorted(set(texts))
    assert [words[place].as_py() for place in places.tolist()] == texts


@given(TEXTS)
def test_a_missing_text_has_no_place(texts):
    places, words = ordinal_encoded(pa.array([*texts, None], pa.string()))
    assert places[-1] == -1 and (places[:-1] >= 0).all()
    assert words.to_pylist() == sorted(set(texts))


@given(st.lists(TEXTS, min_size=1, max_size=4), st.booleans())
def test_several_columns_have_places_among_the_same_words(columns, is_dictionary):
    arrays = [pa.array(texts, pa.string()) for texts in columns]
    words, places = encoded_together([each.dictionary_encode() for each in arrays] if is_dictionary else arrays)
    assert words.to_pylist() == sorted({text for texts in columns for text in texts})
    for texts, found in zip(columns, places, strict=True):
        assert [words[place].as_py() for place in found.tolist()] == texts


@given(st.lists(TEXTS, min_size=1, max_size=4), st.booleans())
def test_columns_are_merged_a_range_at_a_time_and_at_once_where_one_is_not_in_order(columns, is_sorted):
    columns = [sorted(set(texts)) if is_sorted else texts for texts in columns]
    arrays = [pa.array(texts, pa.string()) for texts in columns]
    with patch.object(module, "AT_ONCE", 2):
        words, places = merged_sorted(arrays)
    wanted_words, wanted_places = encoded_together(arrays)
    assert words.equals(wanted_words)
    assert all(map(np.array_equal, places, wanted_places))


@given(st.lists(st.sampled_from(["a", "ab", "b", "日", None]), max_size=12), st.booleans())
def test_a_packed_column_holds_its_own_words_in_order(texts, is_dictionary):
    column = pa.array(texts, pa.string())
    found = sorted_dictionary(column.dictionary_encode().slice(len(texts) // 3) if is_dictionary else column)
    left = texts[len(texts) // 3 :] if is_dictionary else texts
    assert found.to_pylist() == left
    assert found.dictionary.to_pylist() == sorted({text for text in left if text is not None})


def test_no_column_has_no_words():
    words, places = encoded_together([])
    assert len(words) == len(places) == 0
    assert np.array_equal(ordinal_encoded(pa.array([], pa.string()))[0], np.array([], int))
