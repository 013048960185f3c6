#!/bin/bash
# A double of Alluxio's `bin/alluxio-start.sh`: says that it starts, and ends with 0 whatever becomes of it.
bin=$(dirname -- "$(readlink -f -- "$0")")
. "$bin/../libexec/alluxio-config.sh"
while getopts i: option; do
  case $option in
    i) from_backup=$OPTARG ;;
    *) exit 1 ;;
  esac
done
shift $((OPTIND - 1))
# @MISBEHAVE@
launch() {
  echo "Starting $1 @ $(hostname). Logging to $ALLUXIO_LOGS_DIR"
  # shellcheck disable=SC2046,SC2086
  nohup setsid "$JAVA" $JVM -cp "$CLASSPATH" $3 $ALLUXIO_JAVA_OPTS $4 $(logging server) "$2" >>"$ALLUXIO_LOGS_DIR/$1.out" 2>&1 </dev/null &
}
case $1 in
  master) launch master alluxio.master.AlluxioMaster -Xmx500m "${from_backup:+-Dalluxio.master.journal.init.from.backup=$from_backup}" ;;
  worker) launch worker alluxio.worker.AlluxioWorker "-Xmx300m -XX:MaxDirectMemorySize=256m" ;;
  *) echo "Error: Invalid ACTION: $1" >&2; exit 1 ;;
esac
exit 0
