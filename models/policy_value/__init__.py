"""Off-policy evaluation: what a policy would have earned on logged randomised decisions, within a budget.

Input: logged decisions with their propensities. Output: values by IPS, SNIPS and the doubly robust estimator, with
intervals. Start reading at `off_policy`.
"""
