"""The process of one run: it runs the user's code, journals what comes of it, and sends that to Langfuse."""
