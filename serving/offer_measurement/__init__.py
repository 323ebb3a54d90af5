"""The ledger and what became of its users in, what the decisions changed out, beside the control group.

Start reading at `closed_decisions`, which says who is compared; `measured_lift` measures and keeps it.
"""
