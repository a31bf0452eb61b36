import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.Flow.Subscriber;
import java.util.concurrent.SubmissionPublisher;
import org.springframework.http.MediaType;
import org.springframework.http.ResponseEntity;
import org.springframework.web.client.RestClient;

/** Performs the plan of tests/interop/pushes.py with the JDK's HttpClient and Spring's RestClient, both as they come. */
public final class Pushes {
    private static final int PAUSE_MS = 10;

    record Answer(int status, byte[] body) {}

    record Case(String mode, String path, String contentType, List<byte[]> parts) {
        static Case parse(String line) {
            List<String> fields = Arrays.asList(line.split("\t"));
            List<byte[]> parts = new ArrayList<>();
            fields.subList(3, fields.size()).forEach(part -> parts.add(Base64.getDecoder().decode(part)));
            return new Case(fields.get(0), fields.get(1), fields.get(2), parts);
        }

        int length() {
            return parts.stream().mapToInt(part -> part.length).sum();
        }
    }

    interface Request {
        Answer send() throws Exception;
    }

    interface Client {
        Answer post(Case push) throws Exception;

        Answer get(String path) throws Exception;
    }

    static final class JdkClient implements Client {
        private final HttpClient http = HttpClient.newHttpClient();
        private final String base;

        JdkClient(String base) {
            this.base = base;
        }

        @Override
        public Answer post(Case push) throws Exception {
            return send(request(push.path()).header("Content-Type", push.contentType()).POST(body(push)).build());
        }

        @Override
        public Answer get(String path) throws Exception {
            return send(request(path).build());
        }

        private HttpRequest.Builder request(String path) {
            return HttpRequest.newBuilder(URI.create(base + path));
        }

        private Answer send(HttpRequest request) throws Exception {
            HttpResponse<byte[]> response = http.send(request, BodyHandlers.ofByteArray());
            return new Answer(response.statusCode(), response.body());
        }

        private static BodyPublisher body(Case push) {
            return switch (push.mode()) {
                case "jdk-one" -> BodyPublishers.ofByteArray(push.parts().get(0));
                case "jdk-chunks" -> BodyPublishers.fromPublisher(subscriber -> publish(push, subscriber));
                case "jdk-halves" ->
                    BodyPublishers.fromPublisher(subscriber -> publish(push, subscriber), push.length());
                default -> throw new IllegalArgumentException(push.mode());
            };
        }

        private static void publish(Case push, Subscriber<? super ByteBuffer> subscriber) {
            SubmissionPublisher<ByteBuffer> publisher = new SubmissionPublisher<>();
            publisher.subscribe(subscriber);
            Thread writer = new Thread(() -> {
                publisher.submit(ByteBuffer.wrap(push.parts().get(0)));
                pause();
                publisher.submit(ByteBuffer.wrap(push.parts().get(1)));
                publisher.close();
            });
            writer.setDaemon(true);
            writer.start();
        }
    }

    static final class SpringClient implements Client {
        private final RestClient rest;

        SpringClient(String base) {
            rest = RestClient.builder()
                .baseUrl(base)
                .defaultStatusHandler(status -> true, (request, response) -> {})
                .build();
        }

        @Override
        public Answer post(Case push) {
            RestClient.RequestBodySpec request =
                rest.post().uri(URI.create(push.path())).contentType(MediaType.parseMediaType(push.contentType()));
            return answer(switch (push.mode()) {
                case "spring-one" -> request.body(push.parts().get(0));
                case "spring-chunks" -> request.body(out -> write(push, out));
                case "spring-halves" -> request.contentLength(push.length()).body(out -> write(push, out));
                default -> throw new IllegalArgumentException(push.mode());
            });
        }

        @Override
        public Answer get(String path) {
            return answer(rest.get().uri(URI.create(path)));
        }

        private static Answer answer(RestClient.RequestHeadersSpec<?> request) {
            ResponseEntity<byte[]> response = request.retrieve().toEntity(byte[].class);
            byte[] body = response.getBody();
            return new Answer(response.getStatusCode().value(), body == null ? new byte[0] : body);
        }

        private static void write(Case push, OutputStream out) throws IOException {
            out.write(push.parts().get(0));
            out.flush();
            pause();
            out.write(push.parts().get(1));
        }
    }

    private static void pause() {
        try {
            Thread.sleep(PAUSE_MS);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    /** A request that fails has the status 0, and says why in place of a body. */
    private static String told(Request request) {
        Answer answer;
        try {
            answer = request.send();
        } catch (Exception error) {
            answer = new Answer(0, error.toString().getBytes());
        }
        return answer.status() + "\t" + Base64.getEncoder().encodeToString(answer.body());
    }

    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        Client jdk = new JdkClient(base);
        Client spring = new SpringClient(base);
        for (String line : Files.readAllLines(Path.of(arguments[1]))) {
            Case push = Case.parse(line);
            Client client = push.mode().startsWith("spring") ? spring : jdk;
            System.out.println(told(() -> client.post(push)) + "\t" + told(() -> client.get("/healthz")));
        }
        System.exit(0); // the threads of the clients would live on for a minute
    }
}
