#!/bin/sh
# A double of kylin.sh of Kylin 3, with the real one's texts and exit statuses: a stopped instance cannot be stopped (1), and a start
# says that it is done before anything serves.
home=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$home/logs"
alive() { [ -f "$home/pid" ] && kill -0 "$(cat "$home/pid")" 2>/dev/null; }
case "$1" in
start)
    if alive; then echo "Kylin is running, stop it first"; exit 1; fi
    if [ -e "$home/LOCK" ]; then echo "Kylin is starting, wait for it"; exit 1; fi
    KYLIN_HOME=$home setsid python3 "$home/bin/server.py" "-Dcatalina.home=$home/tomcat" >>"$home/logs/kylin.log" 2>&1 </dev/null &
    echo $! >"$home/pid"
    echo
    echo "A new Kylin instance is started by $(id -un). To stop it, run 'kylin.sh stop'"
    echo "Check the log at $home/logs/kylin.log"
    ;;
stop)
    if ! alive; then echo "Kylin is not running"; exit 1; fi
    pid=$(cat "$home/pid")
    echo "Stopping Kylin: $pid"
    kill "$pid"
    tries=0
    while kill -0 "$pid" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -le 50 ] || { echo "Initial kill failed, getting serious now..."; kill -9 "$pid"; }
        sleep 0.1
    done
    rm -f "$home/pid"
    echo "Kylin with pid $pid has been stopped."
    ;;
*)
    echo "Usage: 'kylin.sh [-v] start' or 'kylin.sh [-v] stop'"
    exit 1
    ;;
esac
