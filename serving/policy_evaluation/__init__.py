"""The command `winback evaluate-policy`: what policies, given by name, would have been worth.

Input: logged randomised decisions and names of policies. Output: a table, a picture, JSON. Start reading at
`policy_evaluation`; `evaluated_treatments` says which decisions are used, `named_policies` what each policy would have
given to whom.
"""
