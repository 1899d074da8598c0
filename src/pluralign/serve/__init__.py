"""An HTTP server for mixtures of policies: OpenAI's API, and a web page with sliders for the weights."""
