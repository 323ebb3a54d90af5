"""From raw files to point-in-time features: ingestion, daily aggregates, snapshots, labels, Feast.

As declared: `contract` and `validation` of raw rows, `measures` of a day, `columns` of a snapshot (`declarations`).
As Ibis expressions, which Spark computes and the tests compare with: `aggregates`, `windows`, `snapshots`, `labels`.
As arrays, which one machine computes: `grouped`, `words` and `clocks`; a day's `daily_rows`; `states` and `tallies` of
users, told on by `news`, a slice at a time (`mornings`), to `snapshot_rows`.
As files: `lake`, `stamps`, `daily_files` and their `daily_reader`, `user_table`, `snapshot_files` and what is `carried`
between them.
Doors and readers: `ingestion`, `history`, `store` (Feast), `frames`, `spark`.
A world to test in: `world`, `happenings`, `simulation`, and its `truth`.
"""
