/// The server's half of the opening handshake, for a caller that has parsed the HTTP request itself (RFC 6455 §4.2).
public enum ServerHandshake {
    /// What to answer with status 101.
    public struct Acceptance: Sendable {
        /// The first subprotocol of the client's list that this server supports; nil when there is none.
        public let subprotocol: String?
        /// What was agreed on about compression; nil when there is none.
        public let deflate: PerMessageDeflate.Agreement?
        /// The response's fields.
        public let headers: HeaderFields
    }

    /// Why the request is refused.
    public struct Rejection: Error, Sendable {
        /// The HTTP status to answer with.
        public let status: Int
        /// One line that may be shown to the client.
        public let message: String
        /// Fields that belong in the answer.
        public let headers: HeaderFields
    }

    /// Judges an upgrade request.
    ///
    /// Extensions other than permessage-deflate are declined by not being named in the answer.
    /// - Parameters:
    ///   - method: The request's method.
    ///   - headers: The request's fields.
    ///   - supportedSubprotocols: What this endpoint speaks.
    ///   - deflate: What this endpoint agrees to about compression; nil declines it.
    public static func accept(
        method: String,
        headers: HeaderFields,
        supportedSubprotocols: [String] = [],
        deflate: PerMessageDeflate.Configuration? = nil
    ) throws(Rejection) -> Acceptance {
        guard method == "GET" else { throw .badRequest("a WebSocket handshake is a GET request") }
        guard headers.list(for: "Upgrade").contains(where: { ASCII.equalIgnoringCase($0, "websocket") }) else {
            throw Rejection(
                status: 426,
                message: "this endpoint speaks WebSocket only",
                headers: ["Upgrade": "websocket", "Connection": "Upgrade"]
            )
        }
        guard headers.list(for: "Connection").contains(where: { ASCII.equalIgnoringCase($0, "upgrade") }) else {
            throw .badRequest("the request lacks \"Connection: Upgrade\"")
        }
        guard headers.values(for: "Sec-WebSocket-Version") == ["13"] else {
            throw Rejection(
                status: 426,
                message: "only WebSocket version 13 is spoken here",
                headers: ["Sec-WebSocket-Version": "13"]
            )
        }
        let keys = headers.values(for: "Sec-WebSocket-Key")
        guard keys.count == 1, let key = keys.first, AcceptKey.isValid(key) else {
            throw .badRequest("Sec-WebSocket-Key must be one value of 16 bytes in Base64")
        }
        let offered = headers.list(for: "Sec-WebSocket-Protocol")
        let subprotocol = offered.first(where: supportedSubprotocols.contains)
        var fields: HeaderFields = [
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": AcceptKey.accept(for: key),
        ]
        if let subprotocol {
            fields.append(name: "Sec-WebSocket-Protocol", value: subprotocol)
        }
        guard let extensions = ExtensionHeader.parse(headers) else {
            throw .badRequest("Sec-WebSocket-Extensions is malformed")
        }
        let agreed = deflate?.accept(extensions)
        if let agreed {
            fields.append(name: "Sec-WebSocket-Extensions", value: agreed.answer.description)
        }
        return Acceptance(subprotocol: subprotocol, deflate: agreed?.agreement, headers: fields)
    }
}

extension ServerHandshake.Rejection {
    static func badRequest(_ message: String) -> ServerHandshake.Rejection {
        ServerHandshake.Rejection(status: 400, message: message, headers: [:])
    }
}
