"""What decisions changed: lift against the control group, KPIs, predicted against realised effects, statistical power.

Input: users with their arm and their outcome. Output: estimates with intervals, or "not enough data". Start reading at
`lift`.
"""
