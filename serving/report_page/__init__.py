"""The report: one self-contained page about a day that a marketer understands without help.

Input: the decisions of a day. Output: an HTML page, or a PDF. Start reading at `report`.
"""
