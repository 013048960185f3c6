# A double of Alluxio's libexec/alluxio-config.sh: where things lie, and what the Java virtual machine is started with.
# VERSION and JARS are filled in where the package is made: the classes are the real ones, and stay in the tests' cache.
VERSION=@VERSION@
JARS=@JARS@
ALLUXIO_HOME=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
ALLUXIO_CONF_DIR=${ALLUXIO_CONF_DIR:-$ALLUXIO_HOME/conf}
ALLUXIO_LOGS_DIR=${ALLUXIO_LOGS_DIR:-$ALLUXIO_HOME/logs}
JAVA=${JAVA_HOME:+$JAVA_HOME/bin/}java
# Alluxio has its own conf/alluxio-env.sh, too; what an operator sets there counts.
[ ! -e "$ALLUXIO_CONF_DIR/alluxio-env.sh" ] || . "$ALLUXIO_CONF_DIR/alluxio-env.sh"
mkdir -p "$ALLUXIO_LOGS_DIR"
OPENS=
for package in java.lang java.util java.nio sun.nio.ch java.util.concurrent java.net; do
  OPENS+=" --add-opens=java.base/$package=ALL-UNNAMED"
done
# What the jars' classes look like once they are loaded is kept, which halves what a command costs; one of another Java is passed over.
JVM="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xlog:disable -XX:SharedArchiveFile=$JARS/classes.jsa $OPENS"
CLASSPATH="$JARS/*"
[ ! -d "$JARS/patch" ] || CLASSPATH="$JARS/patch/*:$CLASSPATH"
ALLUXIO_JAVA_OPTS="-Dalluxio.home=$ALLUXIO_HOME -Dalluxio.conf.dir=$ALLUXIO_CONF_DIR -Dalluxio.logs.dir=$ALLUXIO_LOGS_DIR $ALLUXIO_JAVA_OPTS"
logging() {
  echo "-Dlog4j1.compatibility=true -Dlog4j.configuration=file:$ALLUXIO_HOME/libexec/$1.properties -Dlog4j.configurationFile=file:$ALLUXIO_HOME/libexec/$1.properties"
}
