"""A day's cubes and files in, pages out that a marketer opens every morning: who leaves, why, what to do, what if.

Start reading at `desk_app`, which answers requests; each page is a function from a question to a `Page`.
"""
