"""Operations on columns that NumPy and Arrow lack: grouping, dictionary encoding and local time.

Input and output: columns. The functions are pure and know nothing of apps, users or files. Start reading at `group_by`.
"""
