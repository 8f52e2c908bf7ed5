"""Read and write bytes: local files, http, object stores, and one reader of pictures for all of them."""
