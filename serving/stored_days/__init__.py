"""What is written of a decided day, and read back: decisions, options, the ledger, what was superseded and why.

In come tables of a day, out go files that appear together or not at all, and the day as it was decided. Start reading
at `ledger`; `decision_moment` says what a decision is one of: a user, an instant, a trigger.
"""
