"""Judged models in, names and versions out: the one door to MLflow, and models read back from formats that run no code.

Start reading at `tracking`; `response` is how serving reads what is known about offers.
"""
