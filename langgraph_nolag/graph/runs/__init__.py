"""Runs: who has the right to run a thread, what a run was asked to do, and workers that go on with threads nobody waits for."""
