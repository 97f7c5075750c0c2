import Testing

@testable import WebSocketKitLite

/// RFC 7692 §7.1, from both ends.
@Suite("Negotiation of permessage-deflate")
struct DeflateNegotiationTests {
    private static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    private func configuration(
        serverAlone: Bool = false,
        clientAlone: Bool = false,
        serverBits: Int = 15,
        clientBits: Int = 15
    ) -> PerMessageDeflate.Configuration {
        var configuration = PerMessageDeflate.Configuration()
        configuration.serverNoContextTakeover = serverAlone
        configuration.clientNoContextTakeover = clientAlone
        configuration.serverMaxWindowBits = serverBits
        configuration.clientMaxWindowBits = clientBits
        return configuration
    }

    /// What a server with `configuration` answers to `offer`; nil for none.
    private func answer(_ offer: String, _ configuration: PerMessageDeflate.Configuration) throws -> String? {
        let acceptance = try ServerHandshake.accept(
            method: "GET",
            headers: [
                "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": Self.key, "Sec-WebSocket-Extensions": offer,
            ],
            deflate: configuration
        )
        #expect((acceptance.deflate == nil) == (acceptance.headers["Sec-WebSocket-Extensions"] == nil))
        return acceptance.headers["Sec-WebSocket-Extensions"]
    }

    /// What a client that offered `configuration` makes of the server's `answer`.
    private func agreement(
        _ answer: String,
        _ configuration: PerMessageDeflate.Configuration?
    ) throws -> PerMessageDeflate.Agreement? {
        let head = HTTPResponseHead(
            minorVersion: 1,
            status: 101,
            reason: "Switching Protocols",
            headers: [
                "Upgrade": "websocket", "Connection": "Upgrade",
                "Sec-WebSocket-Accept": AcceptKey.accept(for: Self.key),
                "Sec-WebSocket-Extensions": answer,
            ]
        )
        return try UpgradeResponse.validate(head, key: Self.key, offeredSubprotocols: [], offeredDeflate: configuration)
            .deflate
    }

    @Test("a client always lets the server choose its window, and asks for what it is set to")
    func offers() {
        #expect(configuration().offer.description == "permessage-deflate; client_max_window_bits")
        #expect(
            configuration(serverAlone: true, clientAlone: true, serverBits: 10, clientBits: 9).offer.description
                == "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                + "server_max_window_bits=10; client_max_window_bits=9"
        )
        // Our own mistakes are mended rather than sent.
        #expect(configuration(serverBits: 3, clientBits: 99).offer.description.contains("server_max_window_bits=8"))
    }

    @Test("a server agrees to what both want, and mentions nothing it was not allowed to mention")
    func answers() throws {
        let open = configuration()
        #expect(try answer("permessage-deflate", open) == "permessage-deflate")
        #expect(try answer("permessage-deflate; client_max_window_bits", open) == "permessage-deflate")
        #expect(
            try answer("permessage-deflate; client_max_window_bits", configuration(clientBits: 11))
                == "permessage-deflate; client_max_window_bits=11"
        )
        #expect(
            try answer("permessage-deflate; client_max_window_bits=10", configuration(clientBits: 12))
                == "permessage-deflate; client_max_window_bits=10"
        )
        #expect(try answer("permessage-deflate", configuration(clientBits: 9)) == "permessage-deflate")
        #expect(
            try answer("permessage-deflate; server_max_window_bits=10", configuration(serverBits: 12))
                == "permessage-deflate; server_max_window_bits=10"
        )
        #expect(
            try answer("permessage-deflate; server_max_window_bits=8", open)
                == "permessage-deflate; server_max_window_bits=8"
        )
        #expect(
            try answer("permessage-deflate; server_no_context_takeover", open)
                == "permessage-deflate; server_no_context_takeover"
        )
        #expect(
            try answer("permessage-deflate", .stateless)
                == "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )
        #expect(
            try answer("permessage-deflate; server_max_window_bits=\"10\"", open)
                == "permessage-deflate; server_max_window_bits=10"
        )
    }

    @Test(
        "a server passes over an offer that breaks the rules and takes the next",
        arguments: [
            "permessage-deflate; unknown", "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_max_window_bits", "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16", "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; client_max_window_bits=x", "x-webkit-deflate-frame",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        ]
    )
    func declines(offer: String) throws {
        #expect(try answer(offer, configuration()) == nil)
        #expect(
            try answer(offer + ", permessage-deflate; server_max_window_bits=9", configuration())
                == "permessage-deflate; server_max_window_bits=9"
        )
    }

    @Test("a header that is no list of extensions is a bad request")
    func malformed() {
        #expect(throws: ServerHandshake.Rejection.self) { try answer("permessage-deflate; ;", configuration()) }
    }

    @Test("a client takes from the answer what binds each side")
    func agreements() throws {
        let all = try #require(
            try agreement(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                    + "server_max_window_bits=9; client_max_window_bits=10",
                configuration()
            )
        )
        #expect(all.serverNoContextTakeover && all.clientNoContextTakeover)
        #expect(all.serverMaxWindowBits == 9 && all.clientMaxWindowBits == 10)
        let none = try #require(try agreement("permessage-deflate", configuration(clientAlone: true, clientBits: 12)))
        #expect(!none.serverNoContextTakeover && none.clientNoContextTakeover)
        #expect(none.serverMaxWindowBits == 15 && none.clientMaxWindowBits == 12)
    }

    @Test(
        "a client refuses an answer that does not fit its offer",
        arguments: [
            "permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=13",
            "permessage-deflate; server_max_window_bits=11; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover", "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; foo", "permessage-deflate, permessage-deflate", "other", "a b",
        ]
    )
    func refusals(answer: String) {
        let offered = configuration(serverAlone: true, serverBits: 10, clientBits: 12)
        #expect(throws: HTTPSyntaxError.self) { try agreement(answer, offered) }
    }

    @Test("a client refuses compression it did not offer")
    func unasked() {
        #expect(throws: HTTPSyntaxError.self) { try agreement("permessage-deflate", nil) }
    }
}
