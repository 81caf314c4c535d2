"""The engine on a Ray cluster: the only package that knows of Ray, imported only by runs that use it."""
