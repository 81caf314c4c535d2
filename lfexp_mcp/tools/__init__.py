"""The MCP surface: what a client calls. Each tool parses its arguments, calls one service and shapes the answer."""
