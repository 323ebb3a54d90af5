"""The desk, a web application for marketers: who is leaving, why, what is done about it, and what if.

Input: cubes and files of a day. Output: HTML pages. Start reading at `desk_app`, which answers requests; each page is a
function from a `Question` to a `Page`.
"""
