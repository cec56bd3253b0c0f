"""The command line: one small module a command, on top of everything else."""
