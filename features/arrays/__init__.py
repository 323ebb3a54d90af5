"""Columns in, columns out: what NumPy and Arrow lack for grouping, dictionary encoding and local time.

Pure functions of arrays that know nothing of apps, users or files. Start reading at `group_by`.
"""
