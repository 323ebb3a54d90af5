"""How a command of `flows.commands` runs and ends.

In come a command's words and the name of its flow; out go a page or one JSON object, and an exit code.
Start reading at `command_run`; `shared_options` has the words that many commands take, `command_group` says what a
misspelt command or option was meant to be.
"""
