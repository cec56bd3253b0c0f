from parity.cases import history
from parity.compare import parity

test_history = parity(history)
