/// The client's half of the opening handshake (RFC 6455 §4.1).
struct UpgradeRequest: Sendable {
    /// Host and, unless it is the scheme's own, port.
    let authority: String
    /// Path and query.
    let target: String
    /// The `Sec-WebSocket-Key`.
    let key: String
    /// Subprotocols in order of preference.
    let subprotocols: [String]
    /// What is offered about compression; nil offers none.
    var deflate: PerMessageDeflate.Configuration?
    /// Further fields, such as `Authorization`.
    let headers: HeaderFields

    private static let ownFields = [
        "host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol",
        "sec-websocket-extensions", "content-length", "transfer-encoding",
    ]

    /// The request's bytes. Throws `LocalMisuse` for a field that HTTP does not allow or that is the handshake's own.
    func serialize() throws(LocalMisuse) -> [UInt8] {
        var fields: HeaderFields = [
            "Host": authority,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        ]
        for name in subprotocols where !ASCII.isToken(name) {
            throw .invalidHeader(name: "Sec-WebSocket-Protocol: \(name)")
        }
        if !subprotocols.isEmpty {
            fields.append(name: "Sec-WebSocket-Protocol", value: subprotocols.joined(separator: ", "))
        }
        if let deflate {
            fields.append(name: "Sec-WebSocket-Extensions", value: deflate.offer.description)
        }
        for field in headers.fields {
            if Self.ownFields.contains(where: { ASCII.equalIgnoringCase($0, field.name) }) {
                throw .invalidHeader(name: field.name)
            }
            fields.append(name: field.name, value: field.value)
        }
        try fields.validate()
        var output = Array("GET \(target) HTTP/1.1\r\n".utf8)
        fields.write(to: &output)
        output.append(contentsOf: [0x0D, 0x0A])
        return output
    }
}
