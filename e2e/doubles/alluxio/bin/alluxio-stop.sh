#!/bin/bash
# A double of Alluxio's `bin/alluxio-stop.sh`: asks, and says nothing of what becomes of it.
bin=$(dirname -- "$(readlink -f -- "$0")")
case $1 in
  master) classes=alluxio.master.AlluxioMaster ;;
  worker) classes=alluxio.worker.AlluxioWorker ;;
  local) classes="alluxio.worker.AlluxioWorker alluxio.master.AlluxioMaster" ;;
  *) echo "Usage: alluxio-stop.sh [master | worker | local]" >&2; exit 1 ;;
esac
for class in $classes; do "$bin/alluxio" killAll "$class"; done
exit 0
