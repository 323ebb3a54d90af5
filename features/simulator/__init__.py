"""A simulated app with known ground truth: its users, their days, and what each offer would really change.

Input: settings and a seed. Output: event files like those of a real app, and the truth, which no model reads and
against which winback's estimates can be checked. Start reading at `simulator_run`.
"""
