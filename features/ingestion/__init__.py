"""Raw files in, contract tables out: one SQL file maps them, every row is checked, what breaks is put aside.

What has one meaning is put right (`row_repairs`), and what looks wrong as a whole is told (`delivery_notes`).

The file runs in a DuckDB of its own (`source_script`), which reads the raw folder and writes nothing.

In come CSV, JSON, Parquet or a database, out come events, users and treatments. Start reading at `contract`.
"""
