"""Logged decisions and outcomes in, verdicts out: what a policy is worth, what offers brought, who may decide.

Start reading at `policies`, the gate of decisions, and at `lift`, the measurement after the fact.
"""
