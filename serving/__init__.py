"""What each user gets and why: options, allocation under a budget, decisions, reasons, the report and the desk.

Input: models of the registry, and the snapshot of a day. Output: a decision for every user, and pages about them. Start
reading at `decide.decisions`. README.md lists the sub-packages, lowest layer first.
"""
