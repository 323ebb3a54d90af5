"""A day and the models of it in, what looks wrong about them out: asked before anything is decided.

Start reading at `data_guards`; `guard_findings` is how what was found is kept and said.
"""
