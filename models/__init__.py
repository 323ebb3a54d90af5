"""What the history teaches: who will leave, what staying is worth, what each offer changes, and how sure that is.

Input: frames of `features.training_data`. Output: evaluated models in the registry, each under a name. Start reading at
`learn.training`. README.md lists the sub-packages, lowest layer first.
"""
