"""The services: each does one of the jobs that the tools and the shell offer. They know no MCP and no terminal."""
