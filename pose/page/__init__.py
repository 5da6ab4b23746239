"""The page to click in: a session of one scan, and the server that shows it to a browser on the same machine."""
