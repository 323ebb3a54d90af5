"""What is known about each user besides risk and value: persona, tastes, best hours, chance to come back.

Input: what training stored, and what users did recently. Output: columns of the decisions. Start reading at
`user_preferences`.
"""
