"""The month of a district: its steps, what each leaves behind, and the report."""
