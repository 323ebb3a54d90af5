"""The commands of `winback`, grouped by who needs them: their arguments, their help, and the flow that they call.

Input: arguments of the command line. Output: runs and answers; nothing is computed here. Start reading at
`daily_commands`.
"""
