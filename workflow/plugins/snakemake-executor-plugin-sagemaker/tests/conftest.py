pytest_plugins = ["loopback.plugin"]
