"""What all runs share: settings, data folder, lock, record, and the outcome that they report.

Input: profile, data folder and day of a command. Output: an `Outcome`, and a record in ``runs`` of the data folder.
Start reading at `opened_run`; `outcome` says what a run reports, `run_records` keeps why it ended, and `run_status`
lists the last runs.
"""
