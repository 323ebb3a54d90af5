"""Habits of users come in, groups that are alike in them go out, where groups are there at all.

Start reading at `persona_training`, which finds and judges them; `persona_model` tells which one a user is.
"""
