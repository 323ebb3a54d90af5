"""Answers to questions about a data folder and its configuration; nothing is run or written for them.

Input: a data folder or a profile. Output: facts and lines of text. No model, feature store or tracker is imported here,
so that an answer takes about a second. Start reading at `data_status` and `user_explanation`; `configuration_check`
needs no data.
"""
