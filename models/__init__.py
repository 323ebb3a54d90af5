"""What the history teaches: churn, value, redemption and effect models, their evaluation and registry."""
