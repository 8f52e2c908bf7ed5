"""What the pages of a release and of the site share: words, plots, templates, styles; without Spark."""
