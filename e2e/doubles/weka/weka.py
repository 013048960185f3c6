"""A double of `weka` over the hosts of one cluster: `weka.py STATE ARGUMENTS…`. STATE is a JSON file that all of them share.

What it answers is that of 3.x, 4.0 or 4.1 and later, by the version of the first container. `fail` in STATE says what goes wrong:

prepare   a server cannot build its driver: nothing changes, status 1
window    the upgrade fails half-way and rolls back by itself, status 1
stuck     it fails half-way, and so does rolling back: the cluster stays mixed, status 1
mixed     it fails half-way, rolls back all servers but one and returns 0 all the same
silent    it returns 0 and has done nothing
hang      it switches a half and never ends
computes  an upgrade container by container stops before the compute containers, status 1; done again, it goes on there
undone    it ends well, and the conversion of data never begins
unhealthy it ends well, and one server does not come up again

`weka local upgrade` on a client, which is told by the variable WEKA_DOUBLE_CLIENT, brings it to the version of the backends; `client_fail` names a
client on which it fails, `client_hang` one on which it never ends.

With `fail_at` it goes wrong only on the way to that version. `also`, `without`, `each_container` change what is answered; `join_secrets` are those
of containers by name, `no_resources` has `weka local resources` fail.
"""

import json
import os
import sys
import time

path, *words = sys.argv[1:]
with open(path) as file:
    state = json.load(file)
target = words[words.index("--in") + 1] if "--in" in words else ""
fail = state.get("fail", "") if state.get("fail_at", target) == target else ""


def keep():
    """Others read while this one writes: the file is replaced whole."""
    aside = f"{path}.{os.getpid()}"
    with open(aside, "w") as file:
        json.dump(state, file)
    os.rename(aside, path)


def answer(value):
    print(json.dumps(value))
    sys.exit(0)


def refuse(text, code=1):
    print("error: " + text, file=sys.stderr)
    sys.exit(code)


def line(version):
    """The release line: 3.14 is (3, 14)."""
    return tuple(int(part) for part in version.split(".")[:2])


def versions():
    return [version for host in state["hosts"] for version in host["containers"].values()]


def running():
    return line(versions()[0])


def counted(active, total):
    return {"active": active, "total": total}


def status():
    up = sum(1 for host in state["hosts"] if host["status"] == "UP")
    total = len(state["hosts"])
    clients = len(state.get("clients", []))
    kinds = len(state["hosts"][0]["containers"])
    task = "RUNNING" if time.time() < state["task_until"] else "IDLE"
    ended = int(100 * (1 - max(0, state["task_until"] - time.time()) / 10))
    value = {
        "name": "double",
        # The vendor's own sample says OK with a backend missing.
        "status": "OK",
        "io_status": state["io"],
        "release": state["release"],
        "release_hash": "0" * 32,
        "hosts": {"backends": counted(up * kinds, total * kinds), "clients": counted(clients, clients), "active_count": up * kinds, "total_count": total * kinds},
        "drives": counted(6 * up, 6 * total),
        "io_nodes": counted(2 * up, 2 * total),
        "buckets": counted(80, 80),
        "nodes": {"total": 3 * total, "blacklisted": 0},
        "rebuild": rebuild(),
        "block_upgrade_task": {"type": "INVALID" if task == "IDLE" else "DATA_UPGRADE", "state": task, "progress": ended if task != "IDLE" else 0, "taskId": 0},
        "active_alerts_count": len(alerts()),
        "is_cluster": True,
        "init_stage": "INITIALIZED",
        "licensing": {"io_start_eligibility": True, "mode": "Classic"},
        "net": {"link_layer": "ETH"},
    }
    if running() < (4, 0):
        value["upgrade"] = ""
    else:
        value["containers"] = {"active": up * kinds, "total": total * kinds, "backends": counted(up * kinds, total * kinds), "clients": counted(clients, clients)}
        value["upgrade_info"] = {"upgrade_paused": False, "upgrade_phase": state.get("phase", ""), "upgrade_type": "agent-driven"}
    if running() >= (4, 2):
        value["compute_upgrade"] = {}
    value.update(state.get("also", {}))
    return {key: part for key, part in value.items() if key not in state.get("without", [])}


def rebuild():
    missing = any(host["status"] != "UP" for host in state["hosts"])
    share = {0: 0 if missing else 100, 1: 100 if missing else 0, 2: 0}
    levels = [{"numFailures": failures, "MiB": part * 1024, "percent": part} for failures, part in share.items()]
    return {"progressPercent": 0, "unavailableMiB": 0, "protectionState": levels, "movingData": False,
            "numActiveFDs": len(state["hosts"]), "enoughActiveFDs": True, "requiredFDsForRebuild": 4}


def containers():
    found = []
    listed = [("backend", host["name"], name, version, host["status"]) for host in state["hosts"] for name, version in host["containers"].items()]
    listed += [("client", client["name"], "client", client["version"], "UP") for client in state.get("clients", [])]
    for position, (mode, host, name, version, is_up) in enumerate(listed):
        one = {"host_id": f"HostId<{position}>", "hostname": host, "container_name": name, "host_ip": "10.0.0.1", "ips": ["10.0.0.1"],
               "mgmt_port": 14000, "mode": mode, "status": is_up, "state": "ACTIVE", "sw_version": version, "failure_domain": host,
               "last_failure": "", "failure_text": "", "start_time": "2024-01-01T00:00:00Z"}
        if running() >= (4, 0):
            one["sw_release_string"] = version
            one["cores_ids"] = [position % 3 * 4 + 1, position % 3 * 4 + 2]
        one.update(state.get("each_container", {}))
        found.append(one)
    return found


def alerts():
    found = list(state.get("alerts", []))
    if any(client["version"] != versions()[0] for client in state.get("clients", [])):
        found.append({"type": "ClientVersionsMismatch", "title": "Client and cluster versions differ", "severity": "WARNING", "count": 1,
                      "description": "Clients run another version than the cluster", "muted": True})
    return found


def switch(hosts, version, kind=""):
    for host in hosts:
        for name in host["containers"]:
            if name.startswith(kind):
                host["containers"][name] = version


def pause():
    time.sleep(state.get("pace", 0.3))


def upgraded(version):
    state["release"] = version
    state["phase"] = ""
    if fail != "undone":
        state["task_until"] = time.time() + state.get("task_takes", 2)
        state["last_upgrade"] = int(time.time() * 1_000_000)
    if fail == "unhealthy":
        state["hosts"][-1]["status"] = "DOWN"
    keep()
    print("upgrade complete")
    sys.exit(0)


def before_rpc(version):
    numbers = [int(part) for part in version.split(".")]
    return numbers < [4, 2, 16] or [4, 3, 0] <= numbers < [4, 4, 6]


def upgrade(version, options):
    if version not in state["releases"]:
        refuse(f"version {version} was not found on this host")
    last = state["hosts"][-1]["name"]
    # What was prepared days ahead is skipped.
    if version not in state["prepared"]:
        if fail == "prepare":
            refuse(f"preparation failed: {last}: failed to build the wekafs driver")
        pause()
        state["prepared"].append(version)
        state["log"].append("prepared " + version)
        keep()
    if "--prepare-only" in options:
        print("all servers are prepared")
        sys.exit(0)
    if fail == "silent":
        sys.exit(0)
    # Up to 3.10 the mode is named; 4.1 is named where the command is read.
    if running() <= (3, 10) and options[:2] != ["--mode", "one-shot"]:
        refuse(f"an upgrade of {versions()[0]} needs --mode one-shot", 2)
    state["log"].append(" ".join(["upgrade", *options]))
    keep()
    if line(version) >= (4, 1):
        by_container(version)
    one_shot(version, last)


def one_shot(version, last):
    before, released = versions()[0], state["release"]
    half = state["hosts"][: (len(state["hosts"]) + 1) // 2]
    state["io"] = "STOPPED"
    keep()
    pause()
    if fail in ("window", "stuck", "mixed", "hang"):
        switch(half, version)
        keep()
        pause()
        if fail == "hang":
            print(f"waiting for {last}", flush=True)
            time.sleep(600)
        # Rolling back: up to 3.14 I/O stays stopped after it.
        switch(half if fail == "window" else half[:-1], before)
        state["release"] = released
        state["io"] = "STOPPED" if before.startswith("3.") else "STARTED"
        keep()
        if fail == "window":
            refuse(f"upgrade failed: {last}: host version change timed out; the cluster was rolled back to {before}")
        if fail == "stuck":
            refuse(f"upgrade failed: {last}: host version change timed out; rolling back failed")
        sys.exit(0)
    switch(state["hosts"], version)
    keep()
    pause()
    state["io"] = "STARTED"
    upgraded(version)


def by_container(version):
    """Service goes on meanwhile."""
    before = versions()[0]
    crosses = ((4, 2) <= line(before) and before_rpc(before)) and not before_rpc(version)
    if crosses and not any(one["key"] == "rpc.exception.version" and one["enabled"] for one in state.get("overrides", [])):
        refuse("upgrade failed in phase drives: rpc.exception.version")
    for kind in ("drives", "compute", "frontend"):
        if kind == "compute" and fail == "computes":
            state["phase"] = "COMPUTES"
            state["fail"] = ""
            keep()
            refuse("upgrade failed in phase computes")
        for host in state["hosts"]:
            if host["containers"].get(kind + "0") != version:
                switch([host], version, kind)
                state["phase"] = kind.upper()
                keep()
                time.sleep(state.get("pace", 0.3) / 3)
    upgraded(version)


def client_upgrade(prepares):
    """On a client: what the flag is good for is not documented, only from which version on it is given."""
    name = os.environ.get("WEKA_DOUBLE_CLIENT", "")
    client = next((one for one in state.get("clients", []) if one["name"] == name), None)
    if client is None:
        refuse("no client container on this host")
    if prepares != ([int(part) for part in client["version"].split(".")[:3]] >= [4, 0, 1]):
        refuse("--prepare-driver does not fit " + client["version"], 2)
    state["log"].append(" ".join(["client", name, *(["--prepare-driver"] if prepares else [])]))
    keep()
    if state.get("client_fail") == name:
        refuse(f"{name}: failed to build the wekafs driver")
    if state.get("client_hang") == name:
        time.sleep(600)
    pause()
    client["version"] = versions()[0]
    keep()


ignored = ("-J", "--muted", "-b", "--no-progress-bar")
match [word for word in words if word not in ignored]:
    case ["status"]:
        if state.get("logged_out"):
            refuse("Not logged in. Please run `weka user login`")
        answer(status())
    case ["status", "rebuild"]:
        answer(rebuild())
    case ["cluster", "host"]:
        if running() >= (4, 1):
            refuse("unknown command: weka cluster host", 2)
        answer(containers())
    case ["cluster", "container"]:
        if running() < (4, 0):
            refuse("unknown command: weka cluster container", 2)
        answer(containers())
    case ["cluster", "process"]:
        answer([{"node_id": f"NodeId<{n}>", "status": "UP", "roles": ["MANAGEMENT"], "node_info": {}} for n in range(len(state["hosts"]))])
    case ["cluster", "tasks"]:
        answer(state.get("tasks", []))
    case ["alerts"]:
        # Muted alerts are only shown when they are asked for.
        answer(alerts() if "--muted" in words else [alert for alert in alerts() if not alert.get("muted")])
    case ["fs", "snapshot"] | ["fs", "tier", "s3"]:
        answer([])
    case ["debug", "override", "list"]:
        answer(state.get("overrides", []))
    case ["debug", "override", "add", "--key", key, "--value", value, "--force"]:
        found = state.setdefault("overrides", [])
        found.append({"override_id": f"ManualOverrideId<{len(found) + 1}>", "key": key, "value": value, "nodes": "ALL", "enabled": True})
        state["log"].append("override " + key)
        keep()
    case ["debug", "override", "remove", "--id", number]:
        state["overrides"] = [one for one in state.get("overrides", []) if one["override_id"] != f"ManualOverrideId<{number}>"]
        state["log"].append("no override " + number)
        keep()
    case ["s3", "cluster"] | ["smb", "cluster"] | ["debug", "config", "show", "catalogInfo"]:
        answer({})
    case ["debug", "config", "show", "clusterInfo.acceptedVersionsPerType"]:
        answer({})
    case ["cluster", "client-target-version", "show"]:
        print(state.get("client_target", ""))
    case ["org"]:
        answer([{"id": 0, "name": "Root"}])
    case ["local", "ps", "--no-header", "-o", "name"]:
        for name in state["hosts"][0]["containers"]:
            print(name)
    case ["local", "resources", "-C", name]:
        if state.get("no_resources"):
            refuse("permission denied")
        print(json.dumps({"container_name": name, "join_secret": state.get("join_secrets", {}).get(name, ["s3cret"])}, indent=2))
    case ["local", "ps"]:
        answer([{"name": name, "type": "weka", "isRunning": True, "isDisabled": False, "versionName": version}
                for name, version in state["hosts"][0]["containers"].items()])
    case ["debug", "config", "show", "upgradeInfo.lastUpgradeTime.usecs"]:
        if state["last_upgrade"] is None:
            refuse("no such configuration value")
        answer(state["last_upgrade"])
    case ["version"]:
        for release in state["releases"]:
            print(("* " if release == versions()[0] else "  ") + release)
    case ["version", "get", version, *source]:
        if version not in state["releases"]:
            state["releases"].append(version)
            state["log"].append(" ".join(["get", version, *source]))
            keep()
    # How `install.sh` and the script that `curl` fetches leave a release on the host.
    case ["double", "installed", how, version]:
        if version not in state["releases"]:
            state["releases"].append(version)
        state["log"].append(f"{how} {version}")
        keep()
    case ["version", "prepare", version]:
        if version not in state["releases"]:
            refuse(f"version {version} was not found on this host")
        state["log"].append("prepare " + version)
        keep()
    case ["local", "upgrade"]:
        client_upgrade(False)
    case ["local", "upgrade", "--prepare-driver"]:
        client_upgrade(True)
    case ["cluster", "start-io"]:
        state["io"] = "STARTED"
        state["log"].append("start-io")
        keep()
    case ["local", "run", "--in", version, "upgrade", *options] if line(version) < (4, 1):
        upgrade(version, options)
    case ["local", "run", "--container", name, "--in", version, "upgrade", *options] if name in state["hosts"][0]["containers"]:
        if line(version) == (4, 1) and options[:2] != ["--mode", "ndu"]:
            refuse("an upgrade to 4.1 needs --mode ndu", 2)
        upgrade(version, options)
    case _:
        refuse("unknown command: weka " + " ".join(words), 2)
