import NIOHTTP1
import Testing
import WebSocketKitLite

@testable import ControlHub

@Suite("The opening handshake of a node")
struct NodeRequestTests {
    private static let good: [(String, String)] = [
        ("Host", "hub.example"), ("Upgrade", "websocket"), ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "edge.v1"), ("Authorization", "Bearer nt_secret"),
    ]

    private func head(
        _ uri: String = "/edge/v1/connect",
        method: HTTPMethod = .GET,
        replacing name: String = "",
        with value: String? = nil
    ) -> HTTPRequestHead {
        var headers = HTTPHeaders(Self.good)
        if !name.isEmpty {
            headers.remove(name: name)
            if let value { headers.add(name: name, value: value) }
        }
        return HTTPRequestHead(version: .http1_1, method: method, uri: uri, headers: headers)
    }

    @Test("a correct request is accepted with the key's answer and the subprotocol (RFC 6455 §1.3)")
    func accepted() throws {
        let fields = try NodeRequest.accept(head("/edge/v1/connect?x=1")).handshake.headers
        #expect(fields["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(fields["Sec-WebSocket-Protocol"] == "edge.v1")
        #expect(try NodeRequest(head(), remoteAddress: nil).token == "nt_secret")
    }

    @Test(
        "a request that is no node's is refused with the status that says why",
        arguments: [
            ("Authorization", nil, 401), ("Authorization", "Basic dTpw", 401), ("Authorization", "Bearer ", 401),
            ("Sec-WebSocket-Protocol", nil, 400), ("Sec-WebSocket-Protocol", "chat", 400),
            ("Sec-WebSocket-Version", "8", 426), ("Sec-WebSocket-Key", "short", 400), ("Upgrade", "h2c", 426),
        ] as [(String, String?, Int)]
    )
    func refused(_ name: String, _ value: String?, _ status: Int) {
        #expect { try NodeRequest.accept(head(replacing: name, with: value)) } throws: {
            ($0 as? HandshakeRefusal)?.status == status
        }
    }

    @Test("nodes connect on one path, by GET")
    func pathAndMethod() {
        #expect { try NodeRequest.accept(head("/edge/v1/enroll")) } throws: { ($0 as? HandshakeRefusal)?.status == 404 }
        #expect { try NodeRequest.accept(head(method: .POST)) } throws: { ($0 as? HandshakeRefusal)?.status == 400 }
    }
}
