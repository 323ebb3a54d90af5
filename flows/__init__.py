"""How it runs: Prefect flows, their schedule and the command line.

In come a command or the hour of a schedule; out go its outcome, a record of the run, and an exit code. A flow is a
module here and bears its command's name; `runs` is what every run has, `command_line` how a command ends. Start reading
at `train_models`.
"""
