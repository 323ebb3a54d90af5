"""What a policy would have been worth on logged lots, within a budget, with its interval.

In come lots with their propensities, out go values by IPS, SNIPS and doubly robust scores. Start reading
at `off_policy`.
"""
