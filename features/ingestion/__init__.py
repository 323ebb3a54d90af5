"""Raw files in, contract tables out: one SQL file maps them, every row is checked, what breaks is put aside.

What has one meaning is put right (`row_repairs`), and what looks wrong as a whole is told (`delivery_notes`).

In come CSV, JSON, Parquet or a database, out come events, users and treatments. Start reading at `contract`.
"""
