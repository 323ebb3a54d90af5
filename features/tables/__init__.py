"""Tables in files: Parquet with lineage in its metadata, DuckDB to query it, fingerprints to detect stale files.

Input: Arrow tables and paths. Output: Parquet files that record what they were computed from, and tables read from
them. Start reading at `parquet_files`; `fingerprints` and `code_version` say when a file must be built again.
"""
