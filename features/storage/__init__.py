"""Tables to files and back: the data folder, whole writes, and fingerprints that tell which files are stale.

In come Arrow tables, out come Parquet files with their lineage in the metadata. Start reading at `lake`.
"""
