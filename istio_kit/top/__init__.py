"""What proxies with the module are doing now: `istio_kit top`."""
