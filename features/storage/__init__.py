"""The data folder: one way to write in it, whole or not at all, with one writer at a time, here or shared by a team.

In come names and contents, out go publishes that a reader sees at once or not at all. Nobody else opens files of the
data folder. Start reading at `storage_interface` for what a data folder does and at `lake` for where tables lie.
"""
