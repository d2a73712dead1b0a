"""What `edupulse monitor` reads and shows."""
