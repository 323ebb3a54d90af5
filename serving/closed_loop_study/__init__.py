"""A closed-loop simulation: what each policy earns in some weeks, for winback, simpler policies and an oracle.

Input: a simulated app. Output: the earnings of each policy. All policies start on the same day and meet the same random
events (common random numbers). Start reading at `policy_weeks`, which runs one policy; `rival_policies` know the ground
truth, `winback_policy` knows only events.
"""
