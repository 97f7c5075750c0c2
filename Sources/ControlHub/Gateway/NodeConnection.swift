import WebSocketKitLite
import WireFormat

/// Joins a node's session with its connection. All of its state is the session's.
final class NodeConnection: WebSocketApplication {
    let session: HubSession
    let request: NodeRequest
    private let connections: OpenConnections

    init(session: HubSession, request: NodeRequest, among connections: OpenConnections) {
        self.session = session
        self.request = request
        self.connections = connections
        connections.enter()
    }

    /// The connection lets go of it when it is closed.
    deinit {
        connections.leave()
    }

    func opened() { session.start() }

    func receive(_ message: WebSocketMessage) {
        switch message {
        case .binary(let bytes): session.receive(bytes)
        case .text: session.close(.protocolError, reason: "text messages are not allowed here")
        }
    }

    var wantsMessages: Bool { session.isTakingMessages }

    func next() -> WebSocketOutbound? {
        switch session.nextInstruction() {
        case .send(let message): .message(.binary(message))
        case .sendAsIs(let message): .messageAsIs(.binary(message))
        case .close(let code, let reason): .close(CloseCode(rawValue: code), reason: reason)
        case nil: nil
        }
    }

    func setBlocked(_ isBlocked: Bool) { session.setBlocked(isBlocked) }

    var nextDeadline: ContinuousClock.Instant? { session.nextDeadline }

    func tick() { session.tick() }

    func closed(_ status: CloseStatus) {
        let isPeers = status.initiator == .remote && status.code.isAllowedOnWire
        session.connectionEnded(
            isPeers ? TransportClosure(code: status.code.rawValue, reason: status.reason) : nil,
            reason: status.reason
        )
    }
}
