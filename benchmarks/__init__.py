"""Figures, all taken side by side in one run: `make bench`. A new contender is one module in `contenders/`."""
