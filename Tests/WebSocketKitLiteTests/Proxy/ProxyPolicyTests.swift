import Testing

@testable import WebSocketKitLite

@Suite("Which proxy is taken")
struct ProxyPolicyTests {
    private func choice(_ url: String, _ variables: [String: String]) throws -> ProxyPolicy.Choice {
        try ProxyPolicy.environment(ProxyEnvironment(variables)).choice(for: try Endpoint(url))
    }

    @Test(
        "the variable of the scheme comes first, then ALL_PROXY; lower case before upper",
        arguments: [
            ("wss://hub.example", ["HTTPS_PROXY": "http://s:1", "HTTP_PROXY": "http://p:1"], "s"),
            ("https://hub.example", ["HTTPS_PROXY": "http://s:1", "HTTP_PROXY": "http://p:1"], "s"),
            ("ws://hub.example", ["HTTPS_PROXY": "http://s:1", "HTTP_PROXY": "http://p:1"], "p"),
            ("http://hub.example", ["https_proxy": "http://s:1", "http_proxy": "http://p:1"], "p"),
            ("wss://hub.example", ["https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"], "low"),
            ("wss://hub.example", ["https_proxy": "", "HTTPS_PROXY": "http://up:1"], "up"),
            ("wss://hub.example", ["ALL_PROXY": "socks5://all:1"], "all"),
            ("ws://hub.example", ["all_proxy": "socks5://all:1", "HTTPS_PROXY": "http://s:1"], "all"),
            ("wss://hub.example", ["HTTP_PROXY": "http://p:1"], nil),
            ("wss://hub.example", [:], nil),
            ("ws://hub.example", ["HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"], nil),
            ("ws://hub.example", ["http_proxy": "http://p:1", "REQUEST_METHOD": "GET"], "p"),
            ("wss://localhost", ["HTTPS_PROXY": "http://s:1"], nil),
            ("wss://127.0.0.9:8443", ["ALL_PROXY": "http://s:1"], nil),
            ("wss://[::1]:8443", ["ALL_PROXY": "http://s:1"], nil),
        ] as [(String, [String: String], String?)]
    )
    func variables(url: String, variables: [String: String], host: String?) throws {
        #expect(try choice(url, variables).proxy?.host == host)
    }

    @Test(
        "NO_PROXY exempts hosts",
        arguments: [
            ("hub.example", "hub.example", true), ("hub.example", "HUB.Example", true),
            ("hub.example", "example", true), ("hub.example", ".example", true),
            ("hub.example", "*.example", true), ("example.com", ".example.com", true),
            ("hub.example", "ub.example", false), ("hub.example", "other.example", false),
            ("notexample.com", "example.com", false), ("hub.example.", "hub.example", true),
            ("hub.example", "*", true), ("hub.example", "a, b,hub.example", true),
            ("hub.example", "a hub.example\tb", true), ("hub.example", "", false),
            ("hub.example:8443", "hub.example:8443", true), ("hub.example:8443", "hub.example:443", false),
            ("hub.example", "hub.example:443", true), ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.0.0.0/8", true), ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "10.1.2.0/31", false), ("10.1.2.1", "10.1.2.0/31", true),
            ("10.1.2.3", "0.0.0.0/0", true), ("10.1.2.3", "10.0.0.0/33", false), ("10.1.2.3", "10.0.0.0/", false),
            ("10.1.2.3", "2.3", false), ("10.1.2.3", "::/0", false), ("[fd00::5]", "fd00::/8", true),
            ("[fd00::5]", "fd00::5", true), ("[fd00::5]", "fe00::/8", false),
            ("[fd00::5]:8443", "[fd00::5]:8443", true), ("10.1.2.3:81", "10.1.2.3:80", false),
            ("hub.example", "10.0.0.0/8,,;x,hub.example", true), ("hub.example", "hub.example,\u{301}x", true),
        ]
    )
    func noProxy(authority: String, list: String, isExempt: Bool) throws {
        let choice = try choice("wss://\(authority)", ["HTTPS_PROXY": "http://proxy:1", "NO_PROXY": list])
        #expect((choice.proxy == nil) == isExempt, "\(choice.reason)")
    }

    @Test("an explicit proxy is taken whatever the host, and none means none")
    func explicit() throws {
        let proxy = try Proxy("socks5://proxy:1")
        #expect(try ProxyPolicy.fixed(proxy).choice(for: Endpoint("wss://localhost")).proxy == proxy)
        #expect(try ProxyPolicy.direct.choice(for: Endpoint("wss://hub.example")).proxy == nil)
    }

    @Test("a variable that is no proxy is named, and only when it applies")
    func invalid() throws {
        let variables = ["HTTPS_PROXY": "https://user:hunter2@proxy", "NO_PROXY": "spared.example"]
        #expect {
            try choice("wss://hub.example", variables)
        } throws: { error in
            guard let error = error as? WebSocketError else { return false }
            return error.code == .invalidProxy && error.message.contains("HTTPS_PROXY")
                && !error.message.contains("hunter2")
        }
        #expect(try choice("wss://spared.example", variables).proxy == nil)
    }
}
