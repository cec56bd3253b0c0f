"""What both ends of a connection agree on: codes, codec, frames and the pattern grammar. Pure; no I/O."""
