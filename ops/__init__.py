"""The operator's command line, `tandem`."""
