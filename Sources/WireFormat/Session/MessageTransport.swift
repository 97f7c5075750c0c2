/// What carries the WebSocket messages of one session. The programs implement it over their WebSocket connection.
///
/// `send` is called by one task at a time, and so is `receive`; `close` may come at any time. Every call must end
/// promptly when its task is cancelled and after `close`, and `send` and `close` must have a time limit of their own.
public protocol MessageTransport: Sendable {
    /// Sends one binary message; returns when the connection can take the next one.
    func send(_ message: [UInt8]) async throws

    /// The same; where not `compressing`, trying to make the message smaller would be in vain.
    func send(_ message: [UInt8], compressing: Bool) async throws

    /// The next binary message, or nil when the connection ended without a close code.
    ///
    /// Throws `TransportClosure` when the peer closed with a code, anything else when the connection failed.
    func receive() async throws -> [UInt8]?

    /// Closes the connection with a code and a reason of at most 123 bytes; repeated calls do nothing.
    func close(code: UInt16, reason: String) async
}

extension MessageTransport {
    /// For transports that never compress.
    public func send(_ message: [UInt8], compressing: Bool) async throws { try await send(message) }
}

/// The peer's close frame.
public struct TransportClosure: Error, Sendable, Equatable {
    /// The WebSocket close code; 1005, 1006 and 1015 stand for a connection that ended without one (RFC 6455 §7.4.1).
    public let code: UInt16
    /// The peer's words, not to be trusted; often empty.
    public let reason: String

    /// Whether there was a close frame with a code in it (RFC 6455 §7.4.1).
    var hasCode: Bool { ![1005, 1006, 1015].contains(code) }

    /// For transports to throw from `receive`, and from `send` where the close frame was already read.
    public init(code: UInt16, reason: String) {
        self.code = code
        self.reason = reason
    }
}
