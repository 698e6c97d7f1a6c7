"""`python -m bnconform`: the command."""

import sys

from bnconform.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
