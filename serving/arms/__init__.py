"""Assignment of users to arms: control group, random exploration, and the policy that shares out the budget.

Input: options of all users. Output: an arm and an offer, or nothing, for each user. Start reading at `assignment`.
"""
