from parity.cases import cancellation
from parity.compare import parity

test_cancellation = parity(cancellation)
