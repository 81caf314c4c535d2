"""The HTTP routes of the embedded store, one module per resource."""
