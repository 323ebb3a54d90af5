"""From raw files to point-in-time features: ingestion, daily aggregates, snapshots, labels, Feast."""
