"""From snapshots and labels to training frames: what was known at the moment of each example, joined by Feast.

Input: snapshots, labels and treatments. Output: frames for training and scoring. Start reading at `frames`; only
`feature_store` imports Feast.
"""
