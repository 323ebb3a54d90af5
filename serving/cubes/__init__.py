"""Aggregates of a decided day: small tables of counts and sums, so that pages need not read all users.

Input: a decided day. Output: small tables. Start reading at `day_cubes`, which writes them; `stored_cubes` reads them.
"""
