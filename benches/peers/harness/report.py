"""Tables for people, with the median and the range of every figure."""

import statistics

# workload -> [(figure, title, format, +1 higher is better / -1 lower / 0 neither)]
COLUMNS = {
    "sat": [
        ("req_per_cpu_s", "req/CPU-s", "{:,.0f}", 1),
        ("rps", "req/s", "{:,.0f}", 1),
        ("cpu_pct", "proxy CPU %", "{:.0f}", 0),
        ("user_pct", "of it user %", "{:.0f}", 0),
        ("load_busy_pct", "load core %", "{:.0f}", 0),
        ("foreign_pct", "foreign %", "{:.0f}", 0),
        ("p99_us", "p99 µs", "{:,.0f}", -1),
    ],
    "lat": [
        ("added_p50_us", "+p50 µs", "{:,.0f}", -1),
        ("added_p99_us", "+p99 µs", "{:,.0f}", -1),
        ("added_p999_us", "+p99.9 µs", "{:,.0f}", -1),
        ("p50_us", "p50 µs", "{:,.0f}", 0),
        ("p99_us", "p99 µs", "{:,.0f}", 0),
        ("cpu_us_per_req", "CPU µs/req", "{:.1f}", -1),
        ("canary_pct", "canary %", "{:.1f}", 0),
        ("foreign_pct", "foreign %", "{:.0f}", 0),
    ],
    "h2c": [
        ("req_per_cpu_s", "req/CPU-s", "{:,.0f}", 1),
        ("rps", "req/s", "{:,.0f}", 1),
        ("cpu_pct", "proxy CPU %", "{:.0f}", 0),
        ("user_pct", "of it user %", "{:.0f}", 0),
        ("foreign_pct", "foreign %", "{:.0f}", 0),
    ],
    "sse": [
        ("added_ttfb_p50_us", "+TTFB p50 µs", "{:,.0f}", -1),
        ("added_ttfb_p99_us", "+TTFB p99 µs", "{:,.0f}", -1),
        ("added_event_p50_us", "+event p50 µs", "{:,.0f}", -1),
        ("added_event_p99_us", "+event p99 µs", "{:,.0f}", -1),
        ("cpu_us_per_event", "CPU µs/event", "{:.2f}", -1),
        ("streams", "streams", "{:,.0f}", 0),
        ("foreign_pct", "foreign %", "{:.0f}", 0),
    ],
    "big": [
        ("mb_per_cpu_s", "MB/CPU-s", "{:,.0f}", 1),
        ("mb_s", "MB/s", "{:,.0f}", 1),
        ("cpu_pct", "proxy CPU %", "{:.0f}", 0),
        ("foreign_pct", "foreign %", "{:.0f}", 0),
    ],
    "mem": [
        ("idle_rss_mb", "RSS idle MB", "{:.1f}", -1),
        ("loaded_rss_mb", "after load MB", "{:.1f}", -1),
        ("conns_rss_mb", "+1,000 idle connections MB", "{:.1f}", -1),
        ("kb_per_conn", "KB per connection", "{:.1f}", -1),
    ],
}
COLUMNS["tls"] = COLUMNS["h2c"]
TITLES = {
    "sat": "Saturation: {conns} keep-alive connections, 1 KB POST, 1 KB JSON back",
    "lat": "Latency at {rps:,.0f} requests per second, open loop, minus the same direct to the backend",
    "h2c": "HTTP/2 in the clear from the client: 16 connections × 8 streams, 1 KB POST",
    "tls": "TLS termination: {conns} keep-alive connections, HTTP/1.1, 1 KB POST",
    "sse": "Event streams: 50 at a time, 50 events of 200 B, 2 ms apart, minus direct",
    "big": "1 MiB POST on 8 connections",
    "mem": "Memory of a fresh process",
}


def middle(runs, figure):
    """(median, least, most) over the rounds."""
    values = [run[figure] for run in runs if figure in run]
    return (statistics.median(values), min(values), max(values)) if values else None


def cell(runs, column):
    figure, _, form, better = column
    value = middle(runs, figure)
    if not value:
        return "–"
    if better and value[1] != value[2]:
        return f"{form.format(value[0])} [{form.format(value[1])}..{form.format(value[2])}]"
    return form.format(value[0])


def ahead(per_proxy, name, columns):
    """How many times better serin is in the workload's first column."""
    figure, _, _, better = columns[0]
    if name in ("serin", "direct") or "serin" not in per_proxy:
        return ""
    ours, theirs = middle(per_proxy["serin"], figure), middle(per_proxy[name], figure)
    if not ours or not theirs:
        return ""
    # A difference of two noisy latencies can be nothing, or less.
    ours, theirs = (max(v[0], 1.0) if better < 0 else v[0] for v in (ours, theirs))
    return f"{ours / theirs if better > 0 else theirs / ours:.2f}×"


def tables(results, options, names, out):
    for workload in options.workloads:
        per_proxy = results.get(workload)
        if not per_proxy:
            continue
        print(f"\n## {workload}: {TITLES[workload].format(conns=options.conns, rps=options.rps)}\n", file=out)
        columns = COLUMNS[workload]
        head = ["proxy"] + [column[1] for column in columns] + ["failed", "serin is ahead by"]
        rows = [head]
        for name in ["direct", *names]:
            runs = per_proxy.get(name)
            if runs:
                failed = sum(run.get("failed", 0) for run in runs)
                cells = [cell(runs, column) for column in columns]
                rows.append([name, *cells, str(int(failed)), ahead(per_proxy, name, columns)])
        widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
        for at, row in enumerate(rows):
            print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |", file=out)
            if at == 0:
                print("|" + "|".join("-" * (width + 2) for width in widths) + "|", file=out)
