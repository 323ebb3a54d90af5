"""A decided day in, who is in which stage and segment out: kept per day, with what changed, why, and what is unusual.

Start reading at `segment_day`, which writes a day; `membership_changes` says what a change rests on.
"""
