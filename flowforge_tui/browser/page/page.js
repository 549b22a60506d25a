// The cookie holds the token from now on: take it out of the address bar and the history.
history.replaceState(null, "", "/");
