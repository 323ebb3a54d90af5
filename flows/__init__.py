"""How winback runs: Prefect flows, their schedule and the command line.

Input: a command, or a scheduled time. Output: an outcome, a record of the run, and an exit code. Each flow is a module
of this package, named after its command; `runs` holds what all runs share, and `command_line` how a command ends. Start
reading at `train_models`.
"""
