"""Running the services of docker-compose.yml: as containers, or as processes on loopback (docs/how-to/stack.md)."""
