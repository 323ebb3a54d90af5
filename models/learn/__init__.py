"""Frames in, calibrated models out: churn, value and redemption, each with the simpler model it has to beat.

Start reading at `training`, which every model goes through, and at `churn` for one of them.
"""
