"""Who must not be kept or written to any more: keyed hashes of ids, and the rows and users that they mean.

In come ids, out comes whether they are on the list; the list itself holds no id. Start reading at `suppression_list`.
"""
