/// What the server's half of the opening handshake agreed to.
struct UpgradeResponse: Equatable, Sendable {
    /// The subprotocol the server chose; nil when it chose none.
    let subprotocol: String?

    /// Checks a response as RFC 6455 §4.1 demands of a client. The status must have been found to be 101.
    static func validate(
        _ head: HTTPResponseHead,
        key: String,
        offeredSubprotocols: [String]
    ) throws(HTTPSyntaxError) -> UpgradeResponse {
        guard head.status == 101, head.minorVersion == 1 else {
            throw HTTPSyntaxError(message: "the answer is not HTTP/1.1 101")
        }
        guard head.headers.list(for: "Upgrade").contains(where: { ASCII.equalIgnoringCase($0, "websocket") }) else {
            throw HTTPSyntaxError(message: "the answer lacks \"Upgrade: websocket\"")
        }
        guard head.headers.list(for: "Connection").contains(where: { ASCII.equalIgnoringCase($0, "upgrade") }) else {
            throw HTTPSyntaxError(message: "the answer lacks \"Connection: Upgrade\"")
        }
        guard head.headers.values(for: "Sec-WebSocket-Accept") == [AcceptKey.accept(for: key)] else {
            throw HTTPSyntaxError(message: "Sec-WebSocket-Accept does not answer this request's key")
        }
        // None was offered, so the server may name none (RFC 6455 §9.1).
        guard head.headers.list(for: "Sec-WebSocket-Extensions").isEmpty else {
            throw HTTPSyntaxError(message: "the server chose an extension that was not offered")
        }
        let chosen = head.headers.values(for: "Sec-WebSocket-Protocol")
        guard chosen.count <= 1 else { throw HTTPSyntaxError(message: "the server chose more than one subprotocol") }
        if let name = chosen.first, !offeredSubprotocols.contains(name) {
            throw HTTPSyntaxError(message: "the server chose a subprotocol that was not offered")
        }
        return UpgradeResponse(subprotocol: chosen.first)
    }
}
