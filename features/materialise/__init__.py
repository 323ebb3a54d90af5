"""From contract tables to stored days: daily rows and snapshots, computed again only when they are stale.

Input: contract tables. Output: files of daily rows and snapshots, computed on this machine or by Spark. Start reading
at `build_snapshots`; `as_of_view` reads every table as it was known at a moment.
"""
