"""A Grafana dashboard of the module's metrics: `istio_kit dashboard`."""
