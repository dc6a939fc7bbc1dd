"""`python -m dure`: the same as the command `dure`."""

import sys

from dure.cli import main

if __name__ == "__main__":
    sys.exit(main())
