"""Questions about a data folder and its configuration in, plain facts out: nothing is run or written for them.

Start reading at `data_status` and `user_explanation`; `configuration_check` needs no data. No model, store or
tracker is imported here: an answer comes in about a second.
"""
