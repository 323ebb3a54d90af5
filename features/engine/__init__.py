"""Incremental computation of snapshots: the state of every user is updated from one checkpoint to the next.

Input: the events of a day, or the daily rows that changed. Output: rows of features, and the state for the next day.
Start reading at `daily_aggregation` for a day, and at `snapshot_builder` for a snapshot.
"""
