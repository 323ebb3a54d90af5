"""Plays: for whom each entry of the catalogue is meant, by its `when` and its `fact`.

Input: a catalogue, and what is known about users. Output: the users of each play. Start reading at `play_rules`.
"""
