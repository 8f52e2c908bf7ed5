"""What the job needs of machines, Spark and stores, and whether it is there: `lookalike doctor`."""
