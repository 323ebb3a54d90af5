"""Reasons as codes, and their words in a language.

Input: what models and rules found. Output: codes with parameters, which are what is stored, and sentences for people.
Start reading at `reason_codes`; `explanations` derives reasons from models, `rendering` turns reasons into words.
"""
