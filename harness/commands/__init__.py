"""The commands of `mcp-chaos`, by what they are for. Imports that take long stand inside, so that --help is fast."""
