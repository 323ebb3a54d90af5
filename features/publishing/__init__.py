"""Atomic publication of files: they become visible together, are listed with size and digest, and can be verified.

Input: staged files. Output: a publication, complete or not at all. Only `storage` uses this package. Start reading at
`publication`; `manifest` lists what was published, and `recovery` says how to restore a damaged file.
"""
