from parity.cases import interrupts
from parity.compare import parity

test_interrupts = parity(interrupts)
