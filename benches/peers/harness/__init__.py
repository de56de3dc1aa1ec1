"""Reverse proxies side by side: processes, proxies, workloads, tables. `../run` puts them together."""
