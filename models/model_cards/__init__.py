"""What a trained model says of itself: its description, notes for scoring, pictures, what drives it.

In come a fitted model and its rows, out go texts, tables and pictures that are kept beside it. Start reading at
`run_description`.
"""
