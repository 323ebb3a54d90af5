"""Predictions in, options out: what could be done for each user, and what it is worth.

Start reading at `options`.
"""
