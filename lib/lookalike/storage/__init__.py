"""Where bytes come from and go to: local files, http, object stores, and one reader for all of them."""
