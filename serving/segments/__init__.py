"""The rule language of stages and segments: SQL expressions over what is known about users.

Input: rules. Output: who fulfils them, and why. Start reading at `language` for what a rule may say, and at
`definitions` for how rules become the segments of a day.
"""
