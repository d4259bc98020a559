"""What keeps a bank sound when some sites send faulty, careless or hostile rows."""
