"""Fast prediction with LightGBM's trees: scores and exact Shapley values for all users at once.

Input: a fitted booster and rows. Output: the same bits as LightGBM's own predictions, in a small part of the time.
Start reading at `boosters`.
"""
