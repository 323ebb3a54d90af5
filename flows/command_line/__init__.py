"""How a command of `flows.commands` runs and ends.

Input: the arguments of a command and the name of its flow. Output: a page or one JSON object, and an exit code. Start
reading at `command_run`; `shared_options` holds options that many commands take, and `command_group` suggests
corrections for misspelt commands and options.
"""
