"""What the services answer: Pydantic models that are the tools' output schemas and the shell's `--json`."""
