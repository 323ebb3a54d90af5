"""Contact rules: which options are forbidden for a user, each rule with a code and words.

Input: users, their earlier contacts, and a catalogue. Output: the options that no rule forbids. Start reading at
`rule_list`, the only list of rules; `contact_rule` says how a rule is evaluated.
"""
