"""What past decisions changed, compared with the control group.

Input: the ledger, and what happened to its users. Output: measured lift. Start reading at `closed_decisions`, which
says who is compared; `measured_lift` measures and stores it.
"""
