"""The servers that EduPulse starts itself where no URL of a real one is set, and `edupulse up | down | status`."""
