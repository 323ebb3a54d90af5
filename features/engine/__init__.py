"""Daily rows and state in, snapshots out: every window of every user, brought from checkpoint to checkpoint by arrays.

In come a day's events or the daily rows that changed, out come rows of features and the state for the next day.
Start reading at `daily_aggregation` for a day, at `snapshot_builder` for a snapshot.
"""
