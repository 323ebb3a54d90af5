"""A team's stores: PostgreSQL says who writes and which files count, object storage keeps them under their digests.

In come addresses and files of a publish, out comes what was published last, whole. `storage` alone asks. Start reading
at `published_files`; `database` is the one door to PostgreSQL's driver, `object_store` to fsspec.
"""
