"""Options: what could be offered to each user, and what it would be worth.

Input: predictions. Output: value and cost of every option. Start reading at `options`.
"""
