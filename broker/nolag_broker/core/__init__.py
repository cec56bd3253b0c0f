"""The room: one ordered log and the state folded from it. Pure: no I/O, no clock, no randomness of its own."""
