"""Work on whole districts: chunks that are done once each, in this process or on Ray Data, and survive a kill."""
