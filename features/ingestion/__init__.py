"""Rows of a source in, contract tables out: every row is checked, what breaks is put aside.

What has one meaning is put right (`row_repairs`), and what looks wrong as a whole is told (`delivery_notes`).

Out come events, users, treatments and aliases. Start reading at `contract`.
"""
