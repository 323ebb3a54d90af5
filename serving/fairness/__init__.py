"""A decided day and what models never see of its users in, who got how much in each group out, with intervals.

Start reading at `fairness_audit`.
"""
