"""What a user gets and why: options, allocation under a budget, decisions, reasons, the report.

In come models of the registry and the snapshot of a day, out come a decision for everybody and a page about it. Start
reading at `decide.decisions`; the rooms from the ground up are `guards`, `wording` and `knapsack`, `valuation`, `arms`,
`decide`, then `report_page`, `hand_over`, `lookups` and `offer_measurement`, and on top
`closed_loop_study`.
"""
