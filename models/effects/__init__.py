"""Treatments and what came of them in, what each offer changes out: from lots, or adjusted where others chose.

Start reading at `uplift` (drawn by lot) and `observational_effects` (targeted); `effect_model` is what is kept.
"""
