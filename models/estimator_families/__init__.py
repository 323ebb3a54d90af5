"""Kinds of model behind one interface: linear models and trees, with scores, contributions and a stored form.

Input: rows and labels. Output: fitted estimators. Start reading at `estimators`; a new kind is a class and a line in
`model_families`.
"""
