"""Runs the SQL file of an app and returns the rows of its views, in a DuckDB that can only read the raw folder.

Input: a SQL file and a folder of raw files. Output: rows. The script can write nothing, send nothing and load no
extension. Column types that DuckDB guessed are checked against the whole file. Start reading at `source_script`.
"""
