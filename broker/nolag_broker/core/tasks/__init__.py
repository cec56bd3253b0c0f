"""Tasks: dispatched, matched with workers, leased, ended; what they wait for; and what remains of them."""
