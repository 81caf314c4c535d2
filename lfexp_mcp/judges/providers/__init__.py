"""The providers of models. Each is a module that imports its SDK, and is itself imported on use."""
