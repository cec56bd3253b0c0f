"""The connection to a broker, its rooms, and the values that travel: what patterns and graphs are built on."""
