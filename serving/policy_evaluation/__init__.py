"""Logged lots and policies by name in, what each policy would have been worth out: a table, a picture, JSON.

Start reading at `policy_evaluation`; `evaluated_lots` says which lots judge, `named_policies` who is given what.
"""
