"""A catalogue and what is known of users in, whom each play is meant for out, by its `when` and its `fact`.

Start reading at `play_rules`.
"""
