"""Everything that a data folder holds of some users: found, taken out, and shown to be gone.

In come ids and a data folder, out come files without them and a list of what names them still. Start reading at
`erase_users`; `traces` looks, `sought_ids` says what counts as the name of somebody.
"""
