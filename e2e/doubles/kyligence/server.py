"""A double of a Kylin server: it answers at its port, and a newer release writes into the shared metastore when it starts.

`release.json` in the installation says of a release: `fails_on` names instances whose application does not start, so that Tomcat answers
404; `writes` what it puts into the metastore. The file `events` beside the metastore's directory tells in which order instances started and backups were made."""

import http.server
import json
import os
import sys

home = os.environ["KYLIN_HOME"]
with open(os.path.join(home, "conf/kylin.properties")) as lines:
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
settings = {key.strip(): value.strip() for key, value in pairs}
with open(os.path.join(home, "release.json")) as file:
    release = json.load(file)
if release.get("refuses_init_tasks") and ("kylin.server.init-tasks" in settings or "kylin.init.tasks" in settings):
    sys.exit("java.lang.ClassNotFoundException: " + settings.get("kylin.server.init-tasks", ""))
name = settings["kylin.lab.name"]
with open(os.path.join(os.path.dirname(os.path.dirname(settings["kylin.metadata.url"])), "events"), "a") as events:
    events.write(name + "\n")
if release.get("writes"):
    with open(os.path.join(settings["kylin.metadata.url"], "cube/c1.json"), "w") as file:
        file.write(release["writes"])
    with open(os.path.join(settings["kylin.metadata.url"], "cube/new.json"), "w") as file:
        file.write(release["writes"])


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if name in release.get("fails_on", []) else 302)
        self.send_header("Location", "/kylin/login")
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(settings["kylin.lab.port"])), Answer).serve_forever()
