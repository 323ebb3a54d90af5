"""Decided days in files: decisions, options, the ledger, and what was superseded and why.

Input: tables of a day. Output: files that are published together, and the day read back as it was decided. Start
reading at `ledger`; `decision_moment` says what one decision is: a user, an instant, a trigger.
"""
