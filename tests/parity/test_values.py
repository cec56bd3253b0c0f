from parity.cases import values
from parity.compare import parity

test_values = parity(values)
