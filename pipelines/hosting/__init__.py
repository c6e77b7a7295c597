"""Parts that the web page and the HTTP service share: loaded models, a queue with a limit, uploads, the server."""
