"""A decided day in, small tables of counts and sums out, which pages read instead of all users.

Start reading at `day_cubes`, which writes them; `stored_cubes` reads them back.
"""
