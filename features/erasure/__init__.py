"""Erasure of users: everything that a data folder holds about them is found, removed, and searched for again.

Input: user ids and a data folder. Output: files without these users, and a list of what still names them. Start reading
at `erase_users`; `traces` searches, and `sought_ids` says what counts as naming somebody.
"""
