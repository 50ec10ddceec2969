/*
 * Child: Kafka Streams as its users write it: a window of a second, its state in RocksDB.
 *
 * As it ships, with a thread for each core: at-least-once, the default cache, so that a bar is
 * published as often as the cache lets it go. Told and marked as tests/bench/marks.py says.
 */

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

public final class Bars {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ObjectReader TRADES = JSON.readerFor(Trade.class);

    private Bars() {}

    /** What of a trade is needed. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Trade {
        public String symbol;
        public double price;
        public double size;

        @JsonProperty("event_time")
        public long eventTime;
    }

    /** The bar of a window; of no trades yet where `trades` is 0. */
    record Bar(double open, double high, double low, double close, double volume, long trades) {
        static final Bar NONE = new Bar(0, 0, 0, 0, 0, 0);

        Bar with(Trade trade) {
            double price = trade.price;
            if (trades == 0) {
                return new Bar(price, price, price, price, trade.size, 1);
            }
            return new Bar(
                    open,
                    Math.max(high, price),
                    Math.min(low, price),
                    price,
                    volume + trade.size,
                    trades + 1);
        }

        byte[] packed() {
            return ByteBuffer.allocate(48)
                    .putDouble(open)
                    .putDouble(high)
                    .putDouble(low)
                    .putDouble(close)
                    .putDouble(volume)
                    .putLong(trades)
                    .array();
        }

        static Bar unpacked(byte[] data) {
            ByteBuffer from = ByteBuffer.wrap(data);
            return new Bar(
                    from.getDouble(),
                    from.getDouble(),
                    from.getDouble(),
                    from.getDouble(),
                    from.getDouble(),
                    from.getLong());
        }

        String json(String symbol, long startMilliseconds) {
            return "{\"symbol\":\"" + symbol + "\",\"start\":" + startMilliseconds * 1_000_000
                    + ",\"open\":" + open + ",\"high\":" + high + ",\"low\":" + low
                    + ",\"close\":" + close + ",\"volume\":" + volume + ",\"trades\":" + trades
                    + "}";
        }
    }

    private static Trade decode(byte[] value) {
        try {
            return TRADES.readValue(value);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static void mark(Path folder, String name) {
        try {
            var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
            String text = "{\"time\": " + System.nanoTime() / 1e9
                    + ", \"cpu\": " + system.getProcessCpuTime() / 1e9
                    + ", \"memory\": " + peakMemory() + "}";
            Path part = folder.resolve(name + ".part");
            Files.writeString(part, text);
            Files.move(part, folder.resolve(name + ".json"), StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static long peakMemory() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
            }
        }
        return 0;
    }

    public static void main(String[] arguments) throws Exception {
        JsonNode told = JSON.readTree(System.getenv("BENCH_CHILD"));
        Path marks = Path.of(told.get("marks").asText());
        long skip = told.get("skip").asLong();
        long records = told.get("records").asLong();
        AtomicLong done = new AtomicLong();

        Serde<Trade> trades = Serdes.serdeFrom(
                (topic, trade) -> {
                    throw new UnsupportedOperationException("trades are only read");
                },
                (topic, value) -> decode(value));
        Serde<Bar> bars = Serdes.serdeFrom(
                (topic, bar) -> bar == null ? null : bar.packed(),
                (topic, data) -> data == null ? null : Bar.unpacked(data));

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(
                        told.get("topic").asText(),
                        Consumed.with(Serdes.String(), trades)
                                .withTimestampExtractor((record, partitionTime) ->
                                        ((Trade) record.value()).eventTime / 1_000_000))
                .groupByKey()
                .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(1)))
                .aggregate(
                        () -> Bar.NONE,
                        (symbol, trade, bar) -> {
                            long count = done.incrementAndGet();
                            if (count == skip) {
                                mark(marks, "first");
                            } else if (count == records) {
                                mark(marks, "last");
                            }
                            return bar.with(trade);
                        },
                        Materialized.<String, Bar, WindowStore<Bytes, byte[]>>as("bars")
                                .withKeySerde(Serdes.String())
                                .withValueSerde(bars))
                .toStream()
                .map((window, bar) -> KeyValue.pair(
                        window.key(), bar.json(window.key(), window.window().start())))
                .to(told.get("output").asText(), Produced.with(Serdes.String(), Serdes.String()));

        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, told.get("app").asText());
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, told.get("servers").asText());
        properties.put(StreamsConfig.STATE_DIR_CONFIG, told.get("folder").asText());
        properties.put(
                StreamsConfig.NUM_STREAM_THREADS_CONFIG,
                Runtime.getRuntime().availableProcessors());
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");

        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        CountDownLatch over = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            over.countDown();
        }));
        streams.start();
        over.await();
    }
}
