"""Processes pinned to a core, and what they use. Linux only: everything is read from /proc."""

import os
import signal
import socket
import subprocess
import sys

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def pin(core):
    """For `preexec_fn`."""
    return lambda: os.sched_setaffinity(0, {core})


def stat(pid):
    """The fields of /proc/PID/stat after the name, which may hold anything; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


class Process:
    """A process we started on one core, with everything below it."""

    def __init__(self, command, core, log, stdin=None, stdout=None):
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command,
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or out,
                stderr=out,
                start_new_session=True,
                preexec_fn=pin(core),
            )

    def tree(self):
        children = {}
        for name in os.listdir("/proc"):
            fields = stat(name) if name.isdigit() else None
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def cpu(self):
        """(user, system) CPU seconds of the whole tree so far."""
        fields = [f for f in map(stat, self.tree()) if f]
        return sum(int(f[11]) for f in fields) / TICK, sum(int(f[12]) for f in fields) / TICK

    def memory(self):
        """(RSS, PSS) in bytes over the tree; RSS counts shared pages once for each process."""
        sums = {"Rss:": 0, "Pss:": 0}
        for pid in self.tree():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    for line in f:
                        words = line.split()
                        if words[0] in sums:
                            sums[words[0]] += int(words[1]) * 1024
            except OSError:
                pass
        return sums["Rss:"], sums["Pss:"]

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """SIGTERM to the process, SIGKILL to whatever is left of its tree after three seconds."""
        pids = self.tree() if self.alive() else []
        if pids:
            os.kill(pids[0], signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            pass
        for pid in pids:
            if pid != self.process.pid or self.alive():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
        self.process.wait()


def core_times(core):
    """(busy, all) ticks of one core."""
    with open("/proc/stat") as f:
        for line in f:
            words = line.split()
            if words[0] == f"cpu{core}":
                ticks = [int(word) for word in words[1:9]]
                return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
    return 0, 1


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
