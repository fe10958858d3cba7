"""`python -m edgelm` is the edgelm command."""

import sys

from .cli import main

sys.exit(main())
