"""LightGBM's trees in, scores and exact Shapley values out, for all users and in a small part of the usual time.

Kernels that give the bits of LightGBM's own predictions. Start reading at `boosters`.
"""
