"""Snapshots and labels in, frames out: what was known at each example's instant, joined by Feast.

Start reading at `frames`; `feature_store` is the one door to Feast.
"""
