from parity.cases import streams
from parity.compare import parity

test_streams = parity(streams)
