"""Users, their earlier contacts and a catalogue in, which options no rule forbids out; each rule has a code and words.

Start reading at `rule_list`, the one list of rules; `contact_rule` says how it is asked.
"""
