"""Personas: groups of users with similar habits, if the data contain stable groups.

Input: habits of users. Output: groups. Start reading at `persona_training`, which finds and validates them;
`persona_model` assigns users to them.
"""
