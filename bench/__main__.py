"""`python -m bench`."""

import sys

from bench.cli import main
from bench.leftovers import end_on_sigterm

end_on_sigterm()
sys.exit(main(sys.argv[1:]))
