"""Numbers and codes in, plain words out: money, dates, verdicts, and why a user is at risk or gets an offer.

Start reading at `explanations`.
"""
