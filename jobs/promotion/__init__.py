"""Judging a candidate on the district's test rows and moving the champion."""
