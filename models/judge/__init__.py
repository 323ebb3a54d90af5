"""Values of policies in, verdicts out: who may decide, who is tried, who is retired, at what loss at most.

Start reading at `policies`, the gate of decisions, and at `ladder`, the trial below proof.
"""
