"""One YAML file -> Settings."""
