"""Who decides: a fitted model against the champion on the same rows, promotion with its reason, and the way back.

In come candidates and the registry, out go champions and a log of why. Start reading at `promotion`.
"""
