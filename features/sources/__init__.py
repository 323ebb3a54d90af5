"""The SQL file of an app in, the rows of its views out: run in a DuckDB of its own that reads the raw folder alone.

Nothing is written, sent or loaded by it, and types that a reader guessed are held against the whole file. Start reading
at `source_script`.
"""
