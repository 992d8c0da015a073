"""What travels inside the registered model; nothing in here imports the rest of the program."""
