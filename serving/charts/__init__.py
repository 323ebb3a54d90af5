"""Charts as inline SVG, the same bytes in the desk, the report and the PDF.

Input: numbers. Output: SVG from pure functions. Every chart has a title, a description for screen readers, and the
table that it was drawn from. Start reading at `chart_frame`.
"""
