"""Options in, arms and offers out: control group, exploration by lot, and the budget shared out among the others.

Start reading at `assignment`.
"""
