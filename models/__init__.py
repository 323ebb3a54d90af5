"""What the history teaches: who leaves, what staying is worth, what each offer changes, and how sure that is.

In come frames of `features.training_data`, out come judged models under names in the registry. Start reading at
`learn.training`; the rooms from the ground up are `forest`, `metrics` and `send_time`, `tastes`, `personas`, `learn`,
`effects`, `judge`, `registry`, `training_run`.
"""
