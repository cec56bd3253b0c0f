"""What `NoLagSaver` is made of: the layout of its records, reading, upkeep."""
