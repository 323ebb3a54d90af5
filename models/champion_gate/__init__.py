"""Promotion: a newly trained model is compared with the champion on the same rows, and replaces it or not.

Input: candidates and the registry. Output: champions, and a log of why each was promoted. Start reading at `promotion`.
"""
