"""Numbers in, inline SVG out: pure functions, the same bytes in the desk, in the report and on paper.

Every chart has a title, a description for who cannot see it, and the table that it was drawn from. Start reading at
`chart_frame`.
"""
