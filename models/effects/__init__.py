"""Treatments and what came of them in, what each offer changes out: randomised, or adjusted where they were targeted.

Start reading at `uplift` (randomised) and `observational_effects` (targeted); `effect_model` is what is kept.
"""
