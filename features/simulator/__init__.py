"""Nothing in, an app with known truth out: users, days of events, and what each offer would truly change.

What winback believes can be held against `ground_truth`, which no model reads. Start reading at `simulator_run`.
"""
