"""Values and limits in, who gets what out: one option per user under a budget, channel capacities and stocks.

A multiple-choice knapsack by its Lagrangian dual, with the gap to the bound. Start reading at `allocation`.
"""
