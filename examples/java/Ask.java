import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/** Publishes one request, waits for its final result, and prints it. See the README beside the examples. */
public class Ask {
    static final int FAILED = 1, USAGE = 2, NO_RESULT = 3;
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) {
        JsonNode input = null;
        try {
            input = arguments.length < 2 ? null : JSON.readTree(arguments[1]);
        } catch (IOException notJson) { /* the usage says so */ }
        if (input == null || !input.isObject()) {
            System.err.println("usage: Ask OPERATION INPUT-AS-JSON [REQUEST_ID]");
            System.exit(USAGE);
        }
        String requestId = arguments.length > 2 ? arguments[2] : UUID.randomUUID().toString();
        try {
            JsonNode result = ask(arguments[0], input, requestId);
            String status = result.get("status").asText();
            System.out.println(requestId + " " + status);
            if (result.get("error").isObject())
                System.err.println(result.at("/error/code").asText() + ": " + result.at("/error/message").asText());
            System.exit(status.equals("succeeded") ? 0 : FAILED);
        } catch (Exception error) {
            System.err.println(requestId + ": " + error.getMessage() + "; ask again under this id");
            System.exit(NO_RESULT);
        }
    }

    static JsonNode ask(String operation, JsonNode input, String requestId) throws Exception {
        Duration timeout = Duration.ofMillis((long) (1000 * Double.parseDouble(System.getenv().getOrDefault("TIMEOUT_S", "120"))));
        long until = System.nanoTime() + timeout.toNanos();
        String prefix = setting("TOPIC_PREFIX", "verification"), results = prefix + ".results";
        try (var consumer = new KafkaConsumer<>(connection(Map.of("isolation.level", "read_committed", "auto.offset.reset", "none",
                     "enable.auto.commit", "false")), new StringDeserializer(), new ByteArrayDeserializer());
             var producer = new KafkaProducer<>(connection(Map.of("acks", "all")), new StringSerializer(), new ByteArraySerializer())) {
            var partitions = consumer.partitionsFor(results, timeout).stream().map(p -> new TopicPartition(results, p.partition())).toList();
            consumer.assign(partitions);
            // from the end on as it is before the request is published: its result cannot be missed
            consumer.endOffsets(partitions, timeout).forEach(consumer::seek);
            byte[] value = JSON.writeValueAsBytes(Map.of("request_id", requestId, "operation", operation, "input", input));
            String key = input.path("vendor_data").asText(requestId);
            RecordMetadata ours = producer.send(new ProducerRecord<>(prefix + ".requests", key, value)).get();
            while (System.nanoTime() < until) {
                for (var record : consumer.poll(Duration.ofMillis(500))) {
                    JsonNode result = JSON.readTree(record.value());
                    if (requestId.equals(result.path("request_id").asText()) && answers(record, result, ours)) return result;
                }
            }
            throw new IllegalStateException("no final result within " + timeout.toSeconds() + " s; it goes on");
        }
    }

    /** A copy answers the record that it names and no other; a conflict is ours only if it names our record as its source. */
    static boolean answers(ConsumerRecord<String, byte[]> record, JsonNode result, RecordMetadata ours) {
        if (!result.get("kind").asText().equals("final")) return false;
        String position = ours.topic() + "[" + ours.partition() + "]@" + ours.offset();
        var copyFor = record.headers().lastHeader("vp-copy-for");
        if (copyFor != null) return position.equals(new String(copyFor.value(), StandardCharsets.UTF_8));
        JsonNode source = result.get("source");
        String answered = source.get("topic").asText() + "[" + source.get("partition") + "]@" + source.get("offset");
        return !result.get("status").asText().equals("conflict") || position.equals(answered);
    }

    /** How to reach Kafka, from the variables that a processor reads. */
    static Map<String, Object> connection(Map<String, Object> more) throws IOException {
        Map<String, Object> options = new HashMap<>(more);
        String protocol = setting("SECURITY_PROTOCOL", "PLAINTEXT"), mechanism = setting("SASL_MECHANISM", "SCRAM-SHA-512");
        options.put("bootstrap.servers", setting("BOOTSTRAP", "127.0.0.1:9092"));
        options.put("security.protocol", protocol);
        if (protocol.endsWith("SSL") && setting("SSL_CA_FILE", null) != null)
            options.putAll(Map.of("ssl.truststore.type", "PEM", "ssl.truststore.certificates", text("SSL_CA_FILE")));
        if (protocol.endsWith("SSL") && setting("SSL_CERTIFICATE_FILE", null) != null)  // the key in PKCS #8
            options.putAll(Map.of("ssl.keystore.type", "PEM", "ssl.keystore.certificate.chain", text("SSL_CERTIFICATE_FILE"),
                    "ssl.keystore.key", text("SSL_KEY_FILE")));
        if (protocol.startsWith("SASL")) {
            String password = setting("SASL_PASSWORD_FILE", null) != null ? text("SASL_PASSWORD_FILE") : setting("SASL_PASSWORD", "");
            String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
            options.put("sasl.mechanism", mechanism);
            options.put("sasl.jaas.config", "org.apache.kafka.common.security.%s required username=%s password=%s;".formatted(module,
                    quoted(setting("SASL_USERNAME", "")), quoted(password)));
        }
        return options;
    }

    /** What the file holds that a setting names. */
    static String text(String name) throws IOException {
        return Files.readString(Path.of(setting(name, ""))).strip();
    }

    static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault("VP_KAFKA__" + name, otherwise);
    }
}
