"""A day's decisions in, a table per channel out, for whatever sends the messages.

Start reading at `channel_audiences`.
"""
