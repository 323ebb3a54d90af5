"""Tables to files and back: Parquet with its lineage in the metadata, DuckDB over it, and what tells what is stale.

In come Arrow tables and paths, out go files whose fingerprint says what they rest on, and tables read from them.
Start reading at `parquet_files`; `fingerprints` and `code_version` say why a file is built anew.
"""
