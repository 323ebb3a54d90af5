"""From the rows of a source to contract tables: every row is checked, and bad rows are put into quarantine.

Input: rows of a source. Output: events, users, treatments and aliases. Values with only one possible meaning are
repaired (`row_repairs`), and what looks wrong about a delivery as a whole is reported (`delivery_notes`). Start reading
at `contract`.
"""
