"""From raw files to point-in-time features: what each user did until a moment, and what became of them after it.

In come an app's raw files, out come snapshots that models learn from and score; README.md walks one event through.
Start reading at `materialise.build_snapshots`; the rooms from the ground up are `arrays`, `definitions`, `publishing`,
`storage`, `tables`, `sources`, `ingestion` and `engine`, `materialise` and `simulator`, `training_data`.
"""
