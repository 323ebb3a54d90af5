"""Rules in SQL over what is known of users in, who fulfils them out: stages, segments, and why somebody is in one.

Start reading at `language` for what a rule may say, at `definitions` for how rules become a day's segments.
"""
