"""Predictions in, decisions out: options and their worth, control and exploration, allocation, the ledger.

Start reading at `decisions`, which writes a day; `scoring` makes what it rests on.
"""
