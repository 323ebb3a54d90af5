"""How it runs: Prefect flows, their schedule and the command line."""
