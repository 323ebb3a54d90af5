"""The data folder: the only way to read and write its files, with one writer at a time, local or shared by a team.

Input: names and contents. Output: publications, which a reader sees whole or not at all. Start reading at
`storage_interface` for what a data folder can do, and at `lake` for where each table lies.
"""
