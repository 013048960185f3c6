"""What Ansible itself makes of inventories: for every host its groups, its variables, and the ssh command for it.

Reads a JSON list of inventories (paths) from standard input, and prints a JSON object: for each of them the hosts, or the
reason why Ansible refuses it.
"""

import json
import sys

from ansible import constants as C
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager


def plain(value):
    """A value as JSON, without the classes that Ansible gives to texts."""
    return json.loads(json.dumps(value, default=lambda other: {"not JSON": repr(type(other))}))


def computed(templar, value):
    return plain(templar.template(value))


def ssh(templar, variables):
    connection = connection_loader.get("ssh", PlayContext(), "/dev/null")
    options = {"_extras": {}}
    for name in C.config.get_plugin_vars("connection", "ssh"):
        if name in variables:
            options[name] = templar.template(variables[name])
    connection.set_options(var_options=options)
    wanted = ["host", "port", "remote_user", "private_key_file"]
    wanted += ["ssh_args", "ssh_common_args", "ssh_extra_args"]
    found = {name: plain(connection.get_option(name)) for name in wanted}
    # What stands for "nothing was said".
    if "ansible_ssh_args" not in variables:
        found["ssh_args"] = None
    return found


def host(manager, host, groups):
    variables = manager.get_vars(host=host)
    templar = Templar(loader=manager._loader, variables=variables)
    # All that is set for the host, by whatever file, and no more: not what Ansible adds to every host by itself.
    names = variables.keys() - {"hostvars", "vars", "groups", "omit", "playbook_dir"}
    values = {}
    for name in names:
        try:
            values[name] = {"value": computed(templar, variables[name])}
        except Exception as error:
            values[name] = {"error": str(error)}
    answer = {
        "groups": sorted(group.name for group in host.get_groups()),
        "variables": values,
    }
    try:
        connection = computed(templar, variables.get("ansible_connection", "ssh"))
        answer["connection"] = connection
        answer["ssh"] = ssh(templar, variables)
    except Exception as error:
        answer["error"] = str(error)
    return answer


def inventory(path):
    loader = DataLoader()
    manager = InventoryManager(loader=loader, sources=[path])
    variables = VariableManager(loader=loader, inventory=manager)
    return {
        found.name: host(variables, found, manager.groups) for found in manager.get_hosts("all")
    }


def main():
    init_plugin_loader([])
    answers = {}
    for path in json.load(sys.stdin):
        try:
            answers[path] = {"hosts": inventory(path)}
        except Exception as error:
            answers[path] = {"error": str(error)}
    json.dump(answers, sys.stdout)


main()
