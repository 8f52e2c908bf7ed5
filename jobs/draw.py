"""Draw a catalogue of product pictures: python jobs/draw.py build/demo"""

import sys

from lookalike.cli.draw import main

if __name__ == "__main__":
    sys.exit(main())
