"""Show the current release: spark-submit jobs/show.py --config conf/demo.yaml"""

import sys

from lookalike.cli.show import main

if __name__ == "__main__":
    sys.exit(main())
