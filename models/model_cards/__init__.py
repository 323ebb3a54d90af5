"""What is stored beside a trained model to describe it: parameters, notes for scoring, pictures, SHAP values.

Input: a fitted model and its rows. Output: texts, tables and pictures. Start reading at `run_description`.
"""
