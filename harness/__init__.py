"""The part of mcp-chaos that touches the world: backends, clients, files, the command line."""
