"""When to write to a user: how well each hour of the day and each day of the week suits them.

Input: the hours at which users were active. Output: weights of hours and weekdays. Start reading at `hour_weights`.
"""
