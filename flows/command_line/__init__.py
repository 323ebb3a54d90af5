"""How a command of `flows.cli` runs and ends.

In come a command's words and the name of its flow; out go a page or one JSON object, and an exit code.
Start reading at `command_run`; `command_group` says what a misspelt command or option was meant to be.
"""
