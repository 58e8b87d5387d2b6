"""Where models and runner binaries come from: made here, fetched by URL, or built from source."""
