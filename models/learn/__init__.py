"""Training of the churn, value and redemption models, each with the simpler model that it has to beat.

Input: frames. Output: calibrated models. Start reading at `training`, which every model goes through, and at `churn`
for an example.
"""
