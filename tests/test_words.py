"""Texts as whole numbers: the same places however the texts come."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.words import in_order, numbered

TEXTS = st.lists(st.sampled_from(["", "a", "ab", "b", "B", "é", "日", "𝄞"]), max_size=12)


@given(TEXTS, st.booleans(), st.booleans())
def test_places_are_those_among_the_words_in_order(texts, is_sorted, is_dictionary):
    texts = sorted(texts) if is_sorted else texts
    column = pa.array(texts, pa.string())
    places, words = numbered(column.dictionary_encode() if is_dictionary else column)
    assert words.to_pylist() == sorted(set(texts))
    assert [words[place].as_py() for place in places.tolist()] == texts


@given(TEXTS)
def test_a_missing_text_has_no_place(texts):
    places, words = numbered(pa.array([*texts, None], pa.string()))
    assert places[-1] == -1 and (places[:-1] >= 0).all()
    assert words.to_pylist() == sorted(set(texts))


@given(st.lists(TEXTS, min_size=1, max_size=4), st.booleans())
def test_several_columns_have_places_among_the_same_words(columns, is_dictionary):
    arrays = [pa.array(texts, pa.string()) for texts in columns]
    words, places = in_order([each.dictionary_encode() for each in arrays] if is_dictionary else arrays)
    assert words.to_pylist() == sorted({text for texts in columns for text in texts})
    for texts, found in zip(columns, places, strict=True):
        assert [words[place].as_py() for place in found.tolist()] == texts


def test_no_column_has_no_words():
    words, places = in_order([])
    assert len(words) == len(places) == 0
    assert np.array_equal(numbered(pa.array([], pa.string()))[0], np.array([], int))
