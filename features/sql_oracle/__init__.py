"""The definitions once more, as queries: what the arrays of `engine` are held to."""
