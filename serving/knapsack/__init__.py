"""Allocation of options to users under a budget, channel capacities and stocks: a multiple-choice knapsack.

Input: value and cost of every option, and limits. Output: at most one option per user, with the gap to the upper bound.
It is solved by its Lagrangian dual. Start reading at `allocation`.
"""
