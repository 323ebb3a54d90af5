"""The suppression list: who has been forgotten or must not be contacted, kept as keyed hashes of ids.

Input: ids. Output: whether they are on the list, which itself contains no id. Start reading at `suppression_list`.
"""
