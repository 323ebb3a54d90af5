"""What an operator may change: settings, the offer catalogue, sources and the feature-store address."""
