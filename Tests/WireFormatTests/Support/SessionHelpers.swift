import SwiftProtobuf
import WireFormat

/// A moment counted from a fixed start, for machines.
struct Moments {
    let start = ContinuousClock.now

    func at(_ offset: Duration) -> SessionTime {
        let milliseconds = offset.components.seconds * 1000 + offset.components.attoseconds / 1_000_000_000_000_000
        return SessionTime(instant: start + offset, unixMilliseconds: UInt64(1_700_000_000_000 + milliseconds))
    }
}

extension SessionMachine {
    mutating func drainActions() -> [SessionAction<Event>] {
        var actions: [SessionAction<Event>] = []
        while let action = nextAction() { actions.append(action) }
        return actions
    }

    /// The close code among the pending actions.
    mutating func drainClose() -> SessionCloseCode? {
        for case .close(let code, _) in drainActions() { return code }
        return nil
    }

    /// The session messages there are to send.
    mutating func drainSessionMessages() -> [WireSessionMessage] {
        var messages: [WireSessionMessage] = []
        while let transmission = nextTransmission() {
            for case .data(0, let payload, false) in frames(in: transmission) {
                if let message = try? WireSessionMessage(serializedBytes: payload) { messages.append(message) }
            }
        }
        return messages
    }

    mutating func receive(_ message: WireSessionMessage, now: SessionTime) throws {
        let bytes: [UInt8] = try message.serializedBytes()
        receive(MuxFrame.data(stream: 0, payload: bytes, more: false).encoded, now: now)
    }
}

extension WireSessionMessage {
    static func hello(min: UInt32 = 1, max: UInt32 = 1) -> WireSessionMessage {
        .with { $0.hello = .with { ($0.protocolMin, $0.protocolMax, $0.nodeID) = (min, max, "node-1") } }
    }

    static func welcome(version: UInt32 = 1, intervalMilliseconds: UInt32 = 15000) -> WireSessionMessage {
        .with {
            $0.welcome = .with {
                ($0.protocolVersion, $0.sessionEpoch) = (version, 7)
                $0.heartbeatIntervalMs = intervalMilliseconds
            }
        }
    }

    static func heartbeat(
        _ sequence: UInt64,
        sentAt: UInt64 = 0,
        roundTripMicroseconds: UInt64 = 0
    ) -> WireSessionMessage {
        .with {
            $0.heartbeat = .with {
                ($0.sequence, $0.sentAtUnixMs, $0.linkRttUs) = (sequence, sentAt, roundTripMicroseconds)
            }
        }
    }

    static func ack(_ sequence: UInt64, hubTime: UInt64 = 0) -> WireSessionMessage {
        .with { $0.heartbeatAck = .with { ($0.sequence, $0.hubTimeUnixMs) = (sequence, hubTime) } }
    }

    static var emptyReport: WireSessionMessage { .with { $0.botStatus = WireBotStatusReport() } }

    /// A message whose body a later version will define.
    static var fromLaterVersion: WireSessionMessage { WireSessionMessage() }
}
