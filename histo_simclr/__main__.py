"""`python -m histo_simclr` is the same as `histo-simclr`."""

import sys

from histo_simclr.cli import main

sys.exit(main())
