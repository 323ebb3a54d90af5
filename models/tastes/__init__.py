"""Recommendations of categories: what a user is due to buy again, and what they may like to try.

Input: what users bought on which days. Output: scores of categories. Start reading at `taste_model`; `taste_training`
fits and evaluates it.
"""
