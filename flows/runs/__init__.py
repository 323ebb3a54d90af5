"""What every run has: its settings and data folder, its lock, its record, and what it says at its end.

In come a command's profile, data folder and day; out go an `Outcome` and a record below ``runs`` of the data folder.
Start reading at `opened_run`; `outcome` is what a run says, `run_records` keeps why it ended, `run_status` tells of it.
"""
