"""Texts as dictionaries: codes of 32 bits and the words that they stand for, in order wherever it matters."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.grouped import Array, Integers

WORD = pa.dictionary(pa.int32(), pa.string())


def as_words(texts: pa.Array) -> pa.DictionaryArray:
    """Hold different texts, shape (texts,), as a dictionary of their own."""
    return pa.DictionaryArray.from_arrays(np.arange(len(texts), dtype=np.int32), texts)


def numbered(texts: pa.DictionaryArray) -> tuple[Integers, pa.Array]:
    """Find the place of each text among the words in order, shape (texts,), -1 of none; returns the words, too."""
    words = texts.dictionary
    order = pc.sort_indices(words).to_numpy()
    place = np.full(len(words) + 1, -1)
    place[order] = np.arange(len(words))
    return place[texts.indices.fill_null(len(words)).to_numpy()], words.take(pa.array(order))


def narrowed(texts: pa.DictionaryArray) -> pa.DictionaryArray:
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


def packed(texts: pa.Array) -> pa.DictionaryArray:
    """Hold texts as a dictionary of the words that are used, in order; a dictionary that comes is in order."""
    if pa.types.is_dictionary(texts.type):
        return narrowed(texts)
    codes, words = numbered(texts.dictionary_encode())
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), words)


def in_order(columns: list[list[pa.DictionaryArray]]) -> tuple[pa.Array, list[Integers]]:
    """Find the places of the texts of several columns, each in chunks; returns the words in order, and the places."""
    chunks = pa.chunked_array([chunk for column in columns for chunk in column], WORD).unify_dictionaries()
    if not chunks.num_chunks:
        return pa.array([], pa.string()), [joined([]) for _ in columns]
    codes = joined([chunk.indices.to_numpy() for chunk in chunks.chunks]).astype(np.int32)
    together = narrowed(pa.DictionaryArray.from_arrays(codes, chunks.chunk(0).dictionary))
    numbers, words = numbered(together)
    return words, np.split(numbers, np.cumsum([sum(map(len, column)) for column in columns])[:-1])


def joined(parts: list[Array]) -> Integers:
    """Put arrays of whole numbers one after another."""
    return np.concatenate([np.array([], np.int64), *parts])
