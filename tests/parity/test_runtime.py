from parity.cases import runtime
from parity.compare import parity

test_runtime = parity(runtime)
