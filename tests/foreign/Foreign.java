import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.regex.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/**
 * A foreign client: publishes requests with the Java client's default codec and with every other one, then reads their final results
 * read_committed and prints their ids. Arguments: bootstrap servers, requests topic, results topic.
 */
public class Foreign {
    static final int EACH = 3;
    static final Pattern ID = Pattern.compile("\"request_id\":\"([^\"]+)\""), STATUS = Pattern.compile("\"status\":\"([a-z_]+)\"");

    public static void main(String[] arguments) throws Exception {
        Set<String> wanted = new HashSet<>();
        for (String codec : List.of("default", "none", "gzip", "snappy", "lz4", "zstd")) {
            wanted.addAll(publish(arguments[0], arguments[1], codec));
        }
        Map<String, Object> options = Map.of("bootstrap.servers", arguments[0], "isolation.level", "read_committed",
                "auto.offset.reset", "earliest", "group.id", arguments[2] + ".java", "enable.auto.commit", "false");
        long until = System.currentTimeMillis() + 60_000;
        try (var reader = new KafkaConsumer<>(options, new ByteArrayDeserializer(), new StringDeserializer())) {
            reader.subscribe(List.of(arguments[2]));
            while (!wanted.isEmpty()) {
                if (System.currentTimeMillis() > until) throw new IllegalStateException("no results of " + wanted);
                reader.poll(Duration.ofMillis(500)).forEach(record -> {
                    String id = first(ID, record.value()), status = first(STATUS, record.value());
                    if (!status.equals("waiting") && wanted.remove(id)) System.out.println(id + " " + status);
                });
            }
        }
    }

    static List<String> publish(String servers, String topic, String codec) throws Exception {
        Map<String, Object> options = new HashMap<>(Map.of("bootstrap.servers", servers, "linger.ms", "50"));
        if (!codec.equals("default")) options.put("compression.type", codec);
        List<String> ids = new ArrayList<>();
        try (var producer = new KafkaProducer<>(options, new StringSerializer(), new ByteArraySerializer())) {
            for (int i = 0; i < EACH; i++) {
                String id = "java-" + codec + "-" + i;
                String value = "{\"request_id\":\"" + id + "\",\"operation\":\"aml\",\"input\":{\"full_name\":\"Ann " + "x".repeat(100) + "\"}}";
                producer.send(new ProducerRecord<>(topic, id, value.getBytes(StandardCharsets.UTF_8)), (done, error) -> {
                    if (error != null) throw new IllegalStateException(error);
                });
                ids.add(id);
            }
            producer.flush();
        }
        return ids;
    }

    static String first(Pattern pattern, String text) {
        Matcher found = pattern.matcher(text);
        return found.find() ? found.group(1) : "";
    }
}
