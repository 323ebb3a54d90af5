"""Contract tables in, stored days out: daily rows and snapshots, each computed once and again only when stale.

Says what is stale, and lets this machine or Spark's compute it. Start reading at `build_snapshots`; `as_of_view` opens
every table as it stood at a moment.
"""
