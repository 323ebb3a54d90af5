"""What a user gets and why: options, allocation under a budget, decisions, reasons, the report."""
