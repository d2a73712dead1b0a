"""The Ray Serve graph: gateway, feature fetcher, risk model; `app.py` puts it together."""
