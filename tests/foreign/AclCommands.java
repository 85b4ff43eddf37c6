import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.kafka.tools.AclCommand;

/** Kafka's own kafka-acls for many commands in one JVM: a file with a command a line, its arguments separated by tabs. */
public class AclCommands {
    public static void main(String[] files) throws Exception {
        for (String line : Files.readAllLines(Path.of(files[0]))) {
            System.out.println("kafka-acls " + line.replace('\t', ' '));
            AclCommand.main(line.split("\t"));
        }
    }
}
