"""Judged models in, names and versions out: the one door to MLflow, promotion with its reason, pictures, SHAP.

Start reading at `promotion`; `response` is how serving reads what is known about offers.
"""
