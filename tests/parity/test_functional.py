from parity.cases import functional
from parity.compare import parity

test_functional = parity(functional)
