"""Chaos: faults are put into whole commands on a small trained app, and what they leave is counted.

`world` makes the app and its clean states, `faults` break a process from inside, `children` runs commands in forks of
a process that has imported everything, `examination` compares what a try left with the clean states, `scenarios` lists
the tries, and `python -m chaos` (``make chaos``) runs them and prints the table. Start reading at `scenarios`.
"""
