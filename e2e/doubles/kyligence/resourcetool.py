"""A double of Kylin's ResourceTool on a metastore in a directory, with the real one's texts (seen on 2.6.6).

What it is told to do wrong stands in the file `lies` beside the metastore: `full` copies no more than the first resource."""

import os
import shutil
import sys
import uuid


def settings(home):
    with open(os.path.join(home, "conf/kylin.properties")) as lines:
        pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in pairs}


def resources(root):
    found = []
    for directory, _, names in os.walk(root):
        found += [os.path.relpath(os.path.join(directory, name), root) for name in names]
    return sorted(found)


def copy(source, target, lie):
    names = [name for name in resources(source) if name != "UUID"]
    errors = 0
    print("Progress: 0.0%, 0 resource, 0 error; copied 0.0 MB in 0.0 min, 0.0 KB/s ")
    for position, name in enumerate(names):
        if lie == "full" and position > 0:
            print(f"Failed to copy resource: /{name}")
            errors += 1
            continue
        os.makedirs(os.path.dirname(os.path.join(target, name)) or target, exist_ok=True)
        shutil.copyfile(os.path.join(source, name), os.path.join(target, name))
    print(f"Progress: 100.0%, {len(names)} resource, {errors} error; copied 0.0 MB in 0.0 min, 0.0 KB/s ")
    return errors


def main():
    home, verb, *rest = sys.argv[1:]
    store = settings(home)["kylin.metadata.url"]
    try:
        with open(os.path.join(os.path.dirname(store), "lies")) as file:
            lie = file.read().strip()
    except FileNotFoundError:
        lie = ""
    if verb == "download":
        with open(os.path.join(os.path.dirname(os.path.dirname(store)), "events"), "a") as events:
            events.write("backup\n")
        os.makedirs(rest[0], exist_ok=True)
        # Not the metastore's own: each folder gets a new one.
        with open(os.path.join(rest[0], "UUID"), "w") as file:
            file.write(str(uuid.uuid4()))
        if copy(store, rest[0], lie):
            sys.exit(1)
        print(f"Metadata backed up to {rest[0]}")
    elif verb == "upload":
        # Missing or empty: restored, it says.
        copy(rest[0], store, "")
        print(f"Metadata restored from {rest[0]}")
    elif verb == "reset":
        for name in resources(store):
            if name != "UUID":
                os.remove(os.path.join(store, name))
    elif verb == "list":
        print("[" + ", ".join("/" + name for name in sorted(os.listdir(store))) + "]")
    elif verb == "cat":
        with open(os.path.join(store, rest[0].lstrip("/"))) as file:
            print(file.read())
    else:
        print(f"Unknown cmd: {verb}")


main()
