"""Training of the churn, value and redemption models, each with the simpler model that it has to beat.

Input: frames. Output: calibrated models. Start reading at `churn` for an example; every model goes through `training`,
which fits the candidates, and `candidate_choice`, which judges them.
"""
