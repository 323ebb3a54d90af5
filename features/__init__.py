"""From raw files to point-in-time features: what each user had done by a given moment, and what happened afterwards.

Input: an app's raw files. Output: snapshots that models learn from and score, and labels. Start reading at
`materialise.build_snapshots`. README.md follows one event on its way; it also lists the sub-packages, lowest layer
first.
"""
