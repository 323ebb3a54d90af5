"""One training: every model is trained, evaluated and registered, and the training is recorded.

Input: the data folder. Output: registered models, and one record for scoring, report and status (`training_record`).
Start reading at `outcome_models` and `response_models`.
"""
