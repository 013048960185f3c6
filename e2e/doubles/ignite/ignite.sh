#!/usr/bin/env bash
# A double of Ignite's bin/ignite.sh: starts the real main class with a Spring configuration. JARS and MISBEHAVE are filled in where the package is
# made: the classes are the real ones, and stay in the tests' cache.
set -eu
JARS=@JARS@
config=$1
# @MISBEHAVE@
opens=
for package in jdk.internal.misc sun.nio.ch java.io java.nio java.net java.util java.util.concurrent java.util.concurrent.locks \
    java.util.concurrent.atomic java.lang java.lang.invoke java.lang.reflect java.math java.time java.text sun.util.calendar \
    sun.reflect.generics.reflectiveObjects; do
  opens+=" --add-opens=java.base/$package=ALL-UNNAMED"
done
opens+=" --add-opens=java.management/com.sun.jmx.mbeanserver=ALL-UNNAMED --add-opens=java.management/sun.management=ALL-UNNAMED"
opens+=" --add-opens=jdk.internal.jvmstat/sun.jvmstat.monitor=ALL-UNNAMED --add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED"
# shellcheck disable=SC2086
exec java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC $opens -DIGNITE_NO_ASCII=true -DIGNITE_UPDATE_NOTIFIER=false -DIGNITE_QUIET=true \
  -cp "$JARS/*" org.apache.ignite.startup.cmdline.CommandLineStartup "$config"
