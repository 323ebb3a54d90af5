"""Send lists: whom to write to today, one table per channel, for the systems that send the messages.

Input: the decisions of a day. Output: tables. Start reading at `channel_audiences`.
"""
