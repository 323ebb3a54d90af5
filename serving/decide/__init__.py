"""Predictions in, decisions out: options and their worth, control and exploration, allocation, a row for everybody.

Start reading at `decisions`, which writes a day; `scoring` makes what it rests on.
"""
