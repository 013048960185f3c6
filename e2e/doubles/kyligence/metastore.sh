#!/bin/sh
# A double of metastore.sh of Kylin 3: whatever its tool says and returns, a backup ends with "metadata store backed up to" and 0. Where
# the jars of the real tool lie in lib/, it is the real tool that runs.
home=$(cd "$(dirname "$0")/.." && pwd)
tool() {
    if ls "$home"/lib/kylin-core-common*.jar >/dev/null 2>&1; then
        java -cp "$home/conf:$home/lib/*" "-DKYLIN_CONF=$home/conf" org.apache.kylin.common.persistence.ResourceTool "$@"
    else
        python3 "$home/bin/resourcetool.py" "$home" "$@"
    fi
}
case "$1" in
backup)
    folder=$home/meta_backups/meta_$(date +%Y_%m_%d_%H_%M_%S)
    mkdir -p "$folder"
    echo "Starting backup to $folder"
    tool download "$folder"
    echo "metadata store backed up to $folder"
    ;;
restore)
    echo "Starting restoring $2"
    tool upload "$2"
    ;;
reset) tool reset ;;
list) tool list "$2" ;;
cat) tool cat "$2" ;;
*)
    echo "usage: metastore.sh backup"
    exit 1
    ;;
esac
