import javassist.ClassPool;
import javassist.CtClass;
import javassist.CtNewMethod;

import java.io.File;
import java.io.FileOutputStream;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;

/**
 * Alluxio 2.3.0 runs on a fork of Copycat that no registry has. The original has the same packages and the same format of its log; it
 * lacks two settings, which are added here and do nothing, and takes an address that is resolved for another one than the same that is not,
 * so that a master that starts again takes itself for a second one. Arguments: the directory of the jars, and the jar that is written.
 */
public class CopycatPatch {
  private static final String BUILDER = "io.atomix.copycat.server.CopycatServer$Builder";
  private static final String ADDRESS = "io.atomix.catalyst.transport.Address";

  public static void main(String[] arguments) throws Exception {
    ClassPool pool = new ClassPool(true);
    pool.appendClassPath(arguments[0] + "/*");
    CtClass builder = pool.get(BUILDER);
    String[] settings = {
      "withSnapshotAllowed(java.util.concurrent.atomic.AtomicBoolean value)", "withAppenderBatchSize(int value)"
    };
    for (String setting : settings) {
      String method = "public " + BUILDER.replace('$', '.') + " " + setting + " { return this; }";
      builder.addMethod(CtNewMethod.make(method, builder));
    }
    CtClass address = pool.get(ADDRESS);
    String resolved = "new java.net.InetSocketAddress(%s.host(), %s.port())".replace("%s", "(" + "(" + ADDRESS + ") %s)");
    String own = resolved.replace("%s", "this");
    String other = resolved.replace("%s", "$1");
    address.getDeclaredMethod("hashCode").setBody("{ return " + own + ".hashCode(); }");
    address.getDeclaredMethod("equals").setBody("{ return $1 instanceof " + ADDRESS + " && " + own + ".equals(" + other + "); }");
    File jar = new File(arguments[1]);
    jar.getParentFile().mkdirs();
    try (JarOutputStream out = new JarOutputStream(new FileOutputStream(jar))) {
      for (CtClass changed : new CtClass[] {builder, address}) {
        out.putNextEntry(new JarEntry(changed.getName().replace('.', '/') + ".class"));
        out.write(changed.toBytecode());
      }
    }
  }
}
