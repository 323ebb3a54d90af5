"""Dictionary encoding: texts as whole numbers, their places in a sorted dictionary."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import methodcaller

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays.array_types import Integers

DICTIONARY = pa.dictionary(pa.int32(), pa.string())
AS_TEXT = methodcaller("as_py")
AT_ONCE = 8_192


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Take a column in one piece, without a copy where it is in one."""
    return column.chunk(0) if column.num_chunks == 1 else column.unify_dictionaries().combine_chunks()


def ordinal_encoded(texts: pa.Array) -> tuple[Integers, pa.Array]:
    """Find the place of each text among the words in order, shape (texts,), -1 of none; returns the words, too.

    Texts are a dictionary or plain; those that come in order need no search.
    """
    if not pa.types.is_dictionary(texts.type):
        if not texts.null_count:
            is_start = np.ones(len(texts), bool)
            is_start[1:] = pc.not_equal(texts[1:], texts[:-1])
            words = texts.filter(pa.array(is_start))
            if is_ascending(words):
                return np.cumsum(is_start) - 1, words
        texts = texts.dictionary_encode()
    words = texts.dictionary
    if is_ascending(words):
        return dictionary_codes(texts), words
    order = pc.sort_indices(words).to_numpy()
    place = np.full(len(words) + 1, -1)
    place[order] = np.arange(len(words))
    return place[dictionary_codes(texts)], words.take(pa.array(order))


def is_ascending(words: pa.Array) -> bool:
    """Whether each text comes before the next one; none is missing."""
    return bool(pc.all(pc.less(words[:-1], words[1:]), min_count=0).as_py())


def dictionary_codes(texts: pa.DictionaryArray) -> Integers:
    """Take the codes of a dictionary, shape (texts,), -1 of none."""
    codes = texts.indices.fill_null(-1) if texts.null_count else texts.indices
    return codes.to_numpy().astype(np.int64)


def used_values_only(texts: pa.DictionaryArray) -> pa.DictionaryArray:
    """Leave words that are not used out of a dictionary; no text is missing."""
    codes = texts.indices.to_numpy()
    if not len(codes):
        return texts.slice(0, 0)
    first, last = int(codes.min()), int(codes.max())
    is_used = np.zeros(last - first + 1, bool)
    is_used[codes - first] = True
    place = np.cumsum(is_used, dtype=np.int32) - 1
    used = texts.dictionary.slice(first, len(is_used)).filter(pa.array(is_used))
    return pa.DictionaryArray.from_arrays(place[codes - first], used)


def sorted_dictionary(texts: pa.Array) -> pa.DictionaryArray:
    """Hold texts as a dictionary of the words that are used, in order."""
    if pa.types.is_dictionary(texts.type) and not texts.null_count and is_ascending(texts.dictionary):
        return used_values_only(texts)
    codes, words = ordinal_encoded(texts)
    is_used = np.zeros(len(words) + 1, bool)
    is_used[codes] = True  # a missing text marks the last
    place = np.cumsum(is_used, dtype=np.int32) - 1
    own = pa.array(place[codes], mask=codes < 0)
    return pa.DictionaryArray.from_arrays(own, words.filter(pa.array(is_used[:-1])))


def with_sorted_dictionaries(rows: pa.Table, names: Iterable[str]) -> pa.Table:
    """Hold columns of texts as dictionaries of those that are there, in order: the same whoever computed the rows."""
    for name in names:
        rows = rows.set_column(rows.column_names.index(name), name, sorted_dictionary(one_chunk(rows[name])))
    return rows


def encoded_together(columns: Sequence[pa.Array]) -> tuple[pa.Array, list[Integers]]:
    """Find the places of the texts of several columns; returns the words in order, and the places by column.

    Either all columns are dictionaries or none is.
    """
    if not columns:
        return pa.array([], pa.string()), []
    texts = pa.concat_arrays(columns)
    places, words = ordinal_encoded(
        used_values_only(texts) if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    )
    return words, np.split(places, np.cumsum([len(column) for column in columns])[:-1])


def merged_sorted(columns: Sequence[pa.Array]) -> tuple[pa.Array, list[Integers]]:
    """Do what `encoded_together` does for plain columns that come in order, in two thirds of the time.

    A range of texts is looked at at a time: a table of few words fits the processor's cache.
    """
    edges = max(columns, key=len)[AT_ONCE::AT_ONCE].to_pylist()
    cuts = [[0, *(bisect_left(column, edge, key=AS_TEXT) for edge in edges), len(column)] for column in columns]
    pieces = [
        encoded_together([column[slice(*cut)] for column, cut in zip(columns, piece, strict=True)])
        for piece in zip(*map(pairwise, cuts), strict=True)
    ]
    words = pa.concat_arrays([own for own, _ in pieces])
    if not is_ascending(words):  # a column that is not in order was cut anywhere
        return encoded_together(columns)
    before = np.cumsum([0, *(len(own) for own, _ in pieces)])
    places = [[found + first for found in piece] for (_, piece), first in zip(pieces, before, strict=False)]
    return words, [np.concatenate(found) for found in zip(*places, strict=True)]
