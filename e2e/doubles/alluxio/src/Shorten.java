import java.io.DataOutputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/** Copies a backup, a gzip file of records behind their lengths, without its last record. */
public class Shorten {
  public static void main(String[] arguments) throws Exception {
    byte[] all;
    try (InputStream in = new GZIPInputStream(new FileInputStream(arguments[0]))) {
      all = in.readAllBytes();
    }
    int last = 0;
    for (int at = 0; at < all.length; ) {
      last = at;
      int length = 0;
      int shift = 0;
      do {
        length |= (all[at] & 0x7f) << shift;
        shift += 7;
      } while ((all[at++] & 0x80) != 0);
      at += length;
    }
    try (DataOutputStream out = new DataOutputStream(new GZIPOutputStream(new FileOutputStream(arguments[1])))) {
      out.write(all, 0, last);
    }
  }
}
