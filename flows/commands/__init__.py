"""Every command of `winback`, by who needs it: its words and help, and the flow or look-up that it calls.

In come words of the command line, out go runs and answers; nothing is computed here. Start reading at `daily_commands`.
"""
