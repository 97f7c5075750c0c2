import Testing

@testable import WebSocketKitLite

@Suite("Endpoint")
struct EndpointTests {
    @Test(
        "reads the parts of a URL",
        arguments: [
            ("wss://hub.example/edge?x=1", Endpoint(scheme: .wss, host: "hub.example", port: 443, target: "/edge?x=1")),
            ("WS://LocalHost:8080", Endpoint(scheme: .ws, host: "localhost", port: 8080, target: "/")),
            ("https://10.0.0.1:8443/", Endpoint(scheme: .https, host: "10.0.0.1", port: 8443, target: "/")),
            ("http://[::1]:1/a", Endpoint(scheme: .http, host: "::1", port: 1, target: "/a")),
            ("wss://[2001:db8::1]?q", Endpoint(scheme: .wss, host: "2001:db8::1", port: 443, target: "/?q")),
        ]
    )
    func valid(url: String, expected: Endpoint) throws {
        #expect(try Endpoint(url) == expected)
        #expect(try Endpoint(expected.description) == expected)
    }

    @Test(
        "says what is wrong with a URL",
        arguments: [
            "", "hub.example", "ftp://hub.example", "wss:/hub", "wss://", "wss://:443", "wss://h:0", "wss://h:65536",
            "wss://h:x", "wss://h:+1", "wss://u:p@h/", "wss://h/#f", "wss://h/ a", "wss://h/\r\nX: y", "wss://[::1",
            "wss://[h]/", "wss://[::1]x", "wss://::1/", "wss://h_ü/", "wss://h%41/",
        ]
    )
    func invalid(url: String) {
        #expect {
            try Endpoint(url)
        } throws: { error in
            (error as? WebSocketError)?.code == .invalidURL
        }
    }

    @Test("never repeats a URL that may hold a password")
    func noSecrets() {
        do {
            _ = try Endpoint("wss://user:hunter2@h/")
        } catch {
            #expect(!error.message.contains("hunter2"))
        }
    }

    @Test("writes the authority as a Host field wants it")
    func authority() throws {
        #expect(try Endpoint("wss://h").authority == "h")
        #expect(try Endpoint("ws://h:443").authority == "h:443")
        #expect(try Endpoint("wss://[::1]:9").authority == "[::1]:9")
    }

    @Test("knows this machine by name and by address")
    func loopback() throws {
        for url in ["ws://localhost", "ws://127.0.0.1", "ws://127.9.8.7", "ws://[::1]", "ws://[::ffff:127.0.0.1]"] {
            #expect(try Endpoint(url).isLoopback, "\(url)")
        }
        for url in ["ws://localhost.example", "ws://128.0.0.1", "ws://[::2]", "ws://hub"] {
            #expect(try !Endpoint(url).isLoopback, "\(url)")
        }
    }
}
