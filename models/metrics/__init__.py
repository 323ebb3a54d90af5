"""Metrics with intervals, honest splits of rows into training and test, and comparisons of groups of users.

Input: labels and predictions. Output: metrics with confidence intervals. Start reading at `evaluation`.
"""
