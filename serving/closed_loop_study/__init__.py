"""A simulated app in, what each policy earned in some weeks of it out: winback beside simpler ways and an oracle.

Every policy starts on the same morning and meets the same chances (common random numbers). Start reading at
`policy_weeks`, which lets a policy decide; `rival_policies` know the ground truth, `winback_policy` knows events alone.
"""
