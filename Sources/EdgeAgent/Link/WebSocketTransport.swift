import WebSocketKitLite
import WireFormat

/// Carries a session over one WebSocket connection to the hub.
struct WebSocketTransport: MessageTransport {
    let connection: WebSocketConnection

    func send(_ message: [UInt8]) async throws { try await send(message, compressing: true) }

    func send(_ message: [UInt8], compressing: Bool) async throws {
        try await connection.send(.binary(message), compressing: compressing)
    }

    func receive() async throws -> [UInt8]? {
        do {
            switch try await connection.receive() {
            case .binary(let message):
                return message
            case .text:
                await close(code: SessionCloseCode.protocolError.rawValue, reason: "text messages are not allowed here")
                throw WebSocketError(.protocolViolation, "the hub sent a text message; check that the URL is a hub's")
            case nil:
                throw await closure() ?? TransportClosure(code: CloseCode.normalClosure.rawValue, reason: "")
            }
        } catch let error as WebSocketError {
            // The hub's reason counts even where the connection broke before the closing handshake was complete.
            if let told = error.closeStatus.flatMap(Self.toldByPeer) { throw told }
            if error.code == .cancelled { throw CancellationError() }
            throw error
        }
    }

    func close(code: UInt16, reason: String) async {
        await connection.close(code: CloseCode(rawValue: code), reason: reason)
    }

    private func closure() async -> TransportClosure? {
        await connection.closeStatus.flatMap(Self.toldByPeer)
    }

    private static func toldByPeer(_ status: CloseStatus) -> TransportClosure? {
        guard status.initiator == .remote, status.code.isAllowedOnWire else { return nil }
        return TransportClosure(code: status.code.rawValue, reason: status.reason)
    }
}
