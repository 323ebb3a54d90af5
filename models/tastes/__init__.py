"""What users bought on which days comes in, what they are due to buy again and may like for the first time goes out.

Start reading at `taste_model`; `taste_training` learns and judges it.
"""
