"""Hours in which users were there come in, how much each hour of the day and day of the week suits them goes out.

Start reading at `hour_weights`.
"""
