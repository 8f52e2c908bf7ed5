"""The nightly job: spark-submit jobs/embed.py --config conf/nightly.yaml"""

import sys

from lookalike.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
