"""What each column means: daily measures, snapshot features and labels, declared here and computed elsewhere.

Input: nothing. Output: the catalogue, with type, window, unit and meaning of every column. Start reading at
`snapshot_features` for what a column means, and at `registry` for how one is declared.
"""
