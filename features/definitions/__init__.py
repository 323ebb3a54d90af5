"""What each column is: measures of a day, features of a snapshot, labels; declared once, computed elsewhere.

In comes nothing, out comes the catalogue: type, window, unit and meaning of every column. Start reading at
`snapshot_features` for what a column means, at `registry` for how one is declared.
"""
