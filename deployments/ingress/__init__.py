"""The HTTP API: a plain FastAPI factory that knows neither Ray nor any store."""
