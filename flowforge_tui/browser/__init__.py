"""The screen in a browser: `flowforge serve`, and what the screen needs to know of it."""
