"""`python -m espnet_ottc.recipe`."""

import sys

from espnet_ottc.recipe.driver import main

if __name__ == "__main__":
    sys.exit(main())
