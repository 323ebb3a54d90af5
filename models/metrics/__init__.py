"""Labels and predictions in, measures with intervals out; honest splits, and comparisons of groups of users.

Start reading at `evaluation`.
"""
