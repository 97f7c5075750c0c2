import NIOCore
import NIOHTTP1
import WebSocketKitLite

/// What a node's opening handshake says about who is dialing.
///
/// Whether the token is accepted is decided after the upgrade, so that the reason reaches the agent as a close code and
/// no proxy can swallow it. A request without any token is not an agent's and is refused over HTTP.
struct NodeRequest: Sendable {
    static let path = "/edge/v1/connect"
    static let subprotocol = "edge.v1"

    let token: String
    let address: ClientAddress

    var remoteAddress: String { address.text }

    /// - Parameters:
    ///   - remoteAddress: the connection's other end.
    ///   - trustedProxies: see `ClientAddress`.
    /// - Throws: `HandshakeRefusal` with the status and the reason to answer with.
    init(
        _ head: HTTPRequestHead,
        remoteAddress: SocketAddress?,
        trustedProxies: Set<String> = []
    ) throws(HandshakeRefusal) {
        guard head.uri.prefix(while: { $0 != "?" }) == Self.path else {
            throw HandshakeRefusal(404, "nodes connect on \(Self.path)")
        }
        guard let token = Self.bearerToken(head.headers) else {
            throw HandshakeRefusal(
                401,
                "a node says who it is with \"Authorization: Bearer <token>\"",
                ["WWW-Authenticate": "Bearer"]
            )
        }
        self.token = token
        address = ClientAddress(
            peer: remoteAddress?.ipAddress,
            forwarded: head.headers["X-Forwarded-For"],
            proxies: trustedProxies
        )
    }

    private static func bearerToken(_ headers: HTTPHeaders) -> String? {
        bearerToken(headers["Authorization"])
    }

    /// The token in the values of the `Authorization` fields; nil unless there is exactly one.
    static func bearerToken(_ values: [String]) -> String? {
        guard values.count == 1, let value = values.first else { return nil }
        let parts = value.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer", !parts[1].isEmpty else { return nil }
        return String(parts[1])
    }

    /// The whole judgement of a request to the endpoint, also used to explain a refusal over HTTP.
    ///
    /// - Returns: what the request says, and the answer to it.
    static func accept(
        _ head: HTTPRequestHead,
        remoteAddress: SocketAddress? = nil,
        trustedProxies: Set<String> = []
    ) throws(HandshakeRefusal) -> (request: NodeRequest, handshake: ServerHandshake.Acceptance) {
        let request = try NodeRequest(head, remoteAddress: remoteAddress, trustedProxies: trustedProxies)
        let acceptance: ServerHandshake.Acceptance
        do throws(ServerHandshake.Rejection) {
            acceptance = try ServerHandshake.accept(
                method: head.method.rawValue,
                headers: HeaderFields(head.headers.map { (name: $0.name, value: $0.value) }),
                supportedSubprotocols: [subprotocol],
                // Between messages nothing is kept: thousands of idle nodes must not cost a window each.
                deflate: .stateless
            )
        } catch {
            throw HandshakeRefusal(error.status, error.message, error.headers)
        }
        guard acceptance.subprotocol != nil else {
            throw HandshakeRefusal(400, "this endpoint speaks the subprotocol \(subprotocol) and no other")
        }
        return (request, acceptance)
    }
}

/// Why an opening handshake is not accepted; answered over HTTP by the router.
struct HandshakeRefusal: Error, Sendable {
    let status: Int
    let message: String
    let headers: HeaderFields

    init(_ status: Int, _ message: String, _ headers: HeaderFields = [:]) {
        self.status = status
        self.message = message
        self.headers = headers
    }
}
