"""The fairness audit: who got how much in each group of users, by gender or age for example, with intervals.

Input: a decided day, and traits that the models never see. Output: rates and differences per group. Start reading at
`fairness_audit`.
"""
