import NIOCore
import WebSocketKitLite
import WireFormat

/// Carries a session over one upgraded connection.
struct ChannelTransport: MessageTransport {
    private let channel: any Channel
    private let inbound: InboundReader
    private let outbound: NIOAsyncChannelOutboundWriter<WebSocketOutbound>

    init(
        channel: any Channel,
        inbound: NIOAsyncChannelInboundStream<WebSocketInbound>,
        outbound: NIOAsyncChannelOutboundWriter<WebSocketOutbound>
    ) {
        self.channel = channel
        self.inbound = InboundReader(inbound)
        self.outbound = outbound
    }

    func send(_ message: [UInt8]) async throws {
        try await outbound.write(.message(.binary(message)))
    }

    func receive() async throws -> [UInt8]? {
        switch try await inbound.next() {
        case .message(.binary(let message)):
            return message
        case .message(.text):
            await close(code: SessionCloseCode.protocolError.rawValue, reason: "text messages are not allowed here")
            throw TextMessage()
        case .closed(let status):
            guard status.initiator == .remote, status.code.isAllowedOnWire else { return nil }
            throw TransportClosure(code: status.code.rawValue, reason: status.reason)
        case nil:
            return nil
        }
    }

    /// Begins the closing handshake; the connection's own time limit ends it.
    func close(code: UInt16, reason: String) async {
        // A connection that is already gone needs no closing.
        try? await outbound.write(.close(CloseCode(rawValue: code), reason: reason))
    }

    private struct TextMessage: Error, CustomStringConvertible {
        let description = "the node sent a text message"
    }
}

/// The one iterator over what a connection receives.
///
/// `@unchecked Sendable`: `MessageTransport.receive` is called by one task at a time, and nobody else holds this object.
private final class InboundReader: @unchecked Sendable {
    private var iterator: NIOAsyncChannelInboundStream<WebSocketInbound>.AsyncIterator

    init(_ stream: NIOAsyncChannelInboundStream<WebSocketInbound>) {
        iterator = stream.makeAsyncIterator()
    }

    func next() async throws -> WebSocketInbound? {
        try await iterator.next()
    }
}
