"""Files that appear together, are listed with size and digest, and come back when they are damaged.

In come staged files, out comes a publish, whole or not at all. Nobody but `storage` publishes. Start reading at
`publication`; `manifest` says what was published, `way_back` how a damaged file is got back.
"""
