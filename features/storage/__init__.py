"""Tables to files and back: one way to the data folder, publish, lock, and fingerprints that tell what is stale.

In come Arrow tables, out come Parquet files with their lineage in the metadata. Nobody else opens files of the data
folder. Start reading at `storage_interface` for what a data folder does and at `lake` for where tables lie.
"""
