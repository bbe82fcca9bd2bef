"""The measuring engine: a worker process that keeps a load up and stamps what comes back."""
