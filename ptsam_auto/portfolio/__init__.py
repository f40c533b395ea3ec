"""A frozen portfolio of configurations, and the choice among them by cross-fitting on the user's own images."""
