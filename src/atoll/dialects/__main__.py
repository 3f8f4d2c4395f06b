"""`python -m atoll.dialects NAME` prints that dialect's page of the documentation."""

import sys

from atoll.dialects import page

if __name__ == "__main__":
    sys.stdout.write(page(sys.argv[1]))
