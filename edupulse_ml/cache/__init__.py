"""Redis: answers kept for a while, dropped together per student. The home of redis."""
