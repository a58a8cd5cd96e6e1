"""The sections of the configuration file, by topic. `config.py` puts them together and loads the file."""
