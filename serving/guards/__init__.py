"""Guards: checks of a day's data and models before anything is decided.

Input: a day, and the models that would decide it. Output: findings, and the models that may decide. Start reading at
`data_guards`; `guard_findings` says how findings are stored and worded.
"""
