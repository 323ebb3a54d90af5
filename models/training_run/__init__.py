"""A lake in, every model trained, judged and registered, and one record of it out.

Start reading at `outcome_models` and `response_models`; `training_record` is what a training leaves for scoring, report
and status.
"""
