/// What the server's half of the opening handshake agreed to.
struct UpgradeResponse: Equatable, Sendable {
    /// The subprotocol the server chose; nil when it chose none.
    let subprotocol: String?
    /// What the server agreed to about compression; nil when there is none.
    let deflate: PerMessageDeflate.Agreement?

    /// Checks a response as RFC 6455 §4.1 demands of a client. The status must have been found to be 101.
    static func validate(
        _ head: HTTPResponseHead,
        key: String,
        offeredSubprotocols: [String],
        offeredDeflate: PerMessageDeflate.Configuration? = nil
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
        let chosen = head.headers.values(for: "Sec-WebSocket-Protocol")
        guard chosen.count <= 1 else { throw HTTPSyntaxError(message: "the server chose more than one subprotocol") }
        if let name = chosen.first, !offeredSubprotocols.contains(name) {
            throw HTTPSyntaxError(message: "the server chose a subprotocol that was not offered")
        }
        let deflate = try agreement(head.headers, offered: offeredDeflate)
        return UpgradeResponse(subprotocol: chosen.first, deflate: deflate)
    }

    /// The server may name only what was offered, in a form that fits the offer (RFC 6455 §9.1, RFC 7692 §5.1).
    private static func agreement(
        _ headers: HeaderFields,
        offered: PerMessageDeflate.Configuration?
    ) throws(HTTPSyntaxError) -> PerMessageDeflate.Agreement? {
        guard let chosen = ExtensionHeader.parse(headers) else {
            throw HTTPSyntaxError(message: "Sec-WebSocket-Extensions is malformed")
        }
        guard let answer = chosen.first else { return nil }
        guard let offered, chosen.count == 1 else {
            throw HTTPSyntaxError(message: "the server chose an extension that was not offered")
        }
        guard let agreement = offered.agree(to: answer) else {
            throw HTTPSyntaxError(message: "the server's answer \(answer) does not fit what was offered")
        }
        return agreement
    }
}
