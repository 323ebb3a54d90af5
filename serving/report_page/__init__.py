"""A day's decisions in, one self-contained page out that a marketer understands without help.

Start reading at `report`.
"""
