"""Raw files in, contract tables out: one SQL file maps them, every row is checked, what breaks is put aside.

In come CSV, JSON, Parquet or a database, out come events, users and treatments. Start reading at `contract`.
"""
