"""Where objects live: a Kubernetes cluster, or a directory of manifests with SQLite beside it."""
