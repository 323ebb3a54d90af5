"""Predictions in, options out: what could be done for each user, who may get it, and what it is worth.

Start reading at `options`; `eligibility` is the list of rules.
"""
