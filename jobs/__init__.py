"""Entry points: the command line, and jobs that also run through `ray job submit`."""
