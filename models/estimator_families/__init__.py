"""Kinds of model behind one interface: linear ones and trees, each with its scores, contributions and stored form.

In come rows and labels, out go fitted estimators. Start reading at `estimators`; a new kind is a class and a line in
`model_families`.
"""
