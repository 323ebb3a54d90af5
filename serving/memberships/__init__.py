"""Who is in which stage and segment on each day, what changed since the day before, why, and what is unusual.

Input: a decided day. Output: stored memberships and changes. Start reading at `segment_day`, which writes a day;
`membership_changes` explains a change.
"""
