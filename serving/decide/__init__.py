"""The decisions of a day: options and their value, control group and exploration, allocation, a row for every user.

Input: predictions. Output: decisions with their reasons, written as one publication. Start reading at `decisions`,
which writes a day; `scoring` computes what it needs.
"""
