"""List, show, compare, roll back and remove releases: spark-submit jobs/releases.py --config conf/nightly.yaml list"""

import sys

from lookalike.cli.releases import main

if __name__ == "__main__":
    sys.exit(main())
