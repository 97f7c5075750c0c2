import Testing

@testable import WebSocketKitLite

@Suite("Proxy URLs")
struct ProxyTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test(
        "names kind, host and port; both have defaults",
        arguments: [
            ("http://proxy.example:3128", Proxy.Kind.http, "proxy.example", 3128),
            ("HTTP://Proxy.Example:3128/", .http, "proxy.example", 3128),
            ("proxy.example:8080", .http, "proxy.example", 8080),
            ("proxy.example", .http, "proxy.example", 80),
            ("http://[fd00::1]:3128", .http, "fd00::1", 3128),
            ("socks5://10.0.0.1", .socks5, "10.0.0.1", 1080),
            ("socks5h://proxy:9050", .socks5, "proxy", 9050),
        ]
    )
    func forms(text: String, kind: Proxy.Kind, host: String, port: Int) throws {
        let proxy = try Proxy(text)
        #expect(proxy.kind == kind)
        #expect(proxy.host == host)
        #expect(proxy.port == port)
        #expect(proxy.credentials == nil)
    }

    @Test(
        "decodes user and password",
        arguments: [
            ("http://ada:secret@proxy:1", "ada", "secret"),
            ("http://ada@proxy:1", "ada", ""),
            ("http://ada:@proxy:1", "ada", ""),
            ("ada:secret@proxy:1", "ada", "secret"),
            ("http://a%40b:p%3a%2F%25@proxy:1", "a@b", "p:/%"),
            ("http://ada:with:colon@proxy:1", "ada", "with:colon"),
            ("http://ada:with@at@proxy:1", "ada", "with@at"),
            ("socks5://a%3Ab:%C3%A9@proxy:1", "a:b", "é"),
        ]
    )
    func credentials(text: String, user: String, password: String) throws {
        let proxy = try Proxy(text)
        #expect(proxy.credentials == Proxy.Credentials(user: bytes(user), password: bytes(password)))
        #expect(proxy.host == "proxy")
    }

    @Test(
        "refuses what it cannot use, and repeats nothing of it",
        arguments: [
            "", "http://", "https://user:hunter2@proxy:3128", "socks4://hunter2@proxy:1080", "ftp://hunter2@proxy",
            "http://user:hunter2@", "http://user:hunter2@proxy:0", "http://user:hunter2@proxy:99999",
            "http://user:hunter2%@proxy", "http://user:hunter2%4@proxy", "http://user:hunter2%zz@proxy",
            "http://user:hunter2%0d%0a@proxy", "http://us%3Aer:hunter2@proxy", "http://user:hunter2@proxy/path",
            "http://user:hunter2 @proxy", "http://user:hunter2@pro xy", "http://[::1", "socks5://:hunter2@proxy",
            "socks5://" + String(repeating: "u", count: 256) + ":hunter2@proxy", "http://user:hunter2@pr\u{f6}xy",
        ]
    )
    func refused(text: String) {
        #expect {
            try Proxy(text)
        } throws: { error in
            guard let error = error as? WebSocketError else { return false }
            return error.code == .invalidProxy && error.phase == .proxy && !error.isRetryable
                && !error.message.contains("hunter2")
        }
    }

    @Test("shows its password to nobody")
    func redaction() throws {
        let proxy = try Proxy("http://ada:hunter2@proxy:3128")
        var dumped = ""
        dump(proxy, to: &dumped)
        let environment = ProxyEnvironment(["HTTPS_PROXY": "http://ada:hunter2@proxy:3128"])
        dump(environment, to: &dumped)
        for text in [
            "\(ProxyPolicy.environment(environment))", "\(proxy)", String(reflecting: proxy), dumped,
            "\(ProxyPolicy.fixed(proxy))",
        ] {
            #expect(!text.contains("hunter2") && !text.contains("ada"), "\(text)")
        }
    }

    @Test("says what to do about a proxy that speaks TLS")
    func tlsProxy() {
        #expect {
            try Proxy("https://proxy:3128")
        } throws: { error in
            (error as? WebSocketError)?.message.contains("speaks TLS, which is not supported") == true
        }
    }
}
