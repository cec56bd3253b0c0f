"""Streams: chunks by one writer at a time, read by many."""
