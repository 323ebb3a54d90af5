"""What each offer changes, estimated from treatments and their outcomes.

Input: treatments, randomised or targeted, and what happened afterwards. Output: effects on margin and retention, with
their uncertainty. Start reading at `uplift` (randomised) and `observational_effects` (targeted); `effect_model` is what
is stored.
"""
