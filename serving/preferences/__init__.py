"""What is known of each user beside the models of leaving and worth: persona, tastes, hours, the way back.

In come what training left and what users did of late, out go columns of the decisions. Start reading at
`user_preferences`.
"""
