"""Values that cross processes: what they look like, and which classes a payload may name."""
