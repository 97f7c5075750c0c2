import Logging
import SwiftProtobuf
import Synchronization
import WireFormat

/// Brings the journal's packets to the hub over one session, and takes its acknowledgements.
///
/// A packet leaves the journal only when the hub has committed it; what was sent and not acknowledged when the session
/// ends is sent again over the next one, and the hub drops what it has.
struct PacketUplink: Sendable {
    /// One batch is a few frames of the link, so that a command never waits long behind it.
    private static let batchBytes = 64 << 10
    /// Where the hub names no limit.
    private static let defaultWindow = 2048

    let journal: Journal
    let logger: Logger

    /// Compares the journal with what the hub says to have of it; to be called before a stream is opened.
    func meet(_ welcome: WireWelcome) async throws -> Journal.Meeting {
        let meeting = try await journal.meet(node: welcome.nodeID, welcome.packetCursors)
        switch meeting.standing {
        case .same: break
        case .other(let node):
            logger.notice(
                "The journal was another node's: this state directory is a copy, or was paired anew. It goes on under a new name.",
                metadata: ["was": "\(node)"]
            )
        case .behind(let bots):
            let far = bots.map { "\($0.botID): \($0.through), here \($0.toldThrough)" }.joined(separator: "; ")
            logger.warning(
                """
                The hub has packets that this journal has not given: the state directory was put back from a copy. What was \
                written since is sent under a new name; receipts and records are as old as the copy.
                """,
                metadata: ["bots": "\(far)"]
            )
        }
        if !meeting.forgotten.isEmpty {
            logger.warning(
                "The hub has fewer packets than it has acknowledged: it was put back from a backup. It notes a gap.",
                metadata: ["bots": "\(meeting.forgotten.joined(separator: ", "))"]
            )
        }
        return meeting
    }

    /// What the stream is opened with.
    func header(_ meeting: Journal.Meeting) async throws -> WirePacketStream {
        let beginnings = try await journal.beginnings()
        return .with {
            $0.journalID = meeting.journalID
            // More than a hub takes would be cut, and one that is missing looks like one that began at 1.
            guard let beginnings, beginnings.count <= WireBounds.cursors else { return }
            ($0.beginnings, $0.beginningsKnown) = (beginnings, true)
        }
    }

    /// Runs until the session ends or the task is cancelled.
    ///
    /// - Parameter committed: what the hub has under the name that the stream was opened with.
    func run(_ stream: SessionStream, limits: WireLimits, committed: [WirePacketCursor]) async throws {
        let owed = await settle(committed)
        let limit = Int(clamping: limits.maxUnacknowledgedPackets)
        let window = PacketWindow(limit: limit > 0 ? limit : Self.defaultWindow, committed: committed)
        try await withThrowingTaskGroup { group in
            group.addTask { try await send(stream, window) }
            group.addTask { try await receive(stream, window, owed: owed) }
            try await group.next()
            group.cancelAll()
        }
    }

    private func send(_ stream: SessionStream, _ window: PacketWindow) async throws {
        while true {
            let room = try await window.waitForRoom()
            let ticket = journal.newPackets.ticket
            let found = try await journal.unacknowledged(after: window.sent, maxBytes: Self.batchBytes)
            if found.isEmpty {
                try await journal.newPackets.wait(after: ticket)
            } else {
                let packets = Array(found.prefix(room))
                try await stream.send(message: WirePacketBatch.with { $0.packets = packets })
                window.sending(packets)
            }
        }
    }

    /// - Parameter owed: what the hub has and the journal could not forget yet.
    private func receive(_ stream: SessionStream, _ window: PacketWindow, owed: [WirePacketCursor]) async throws {
        var owed = owed
        while let ack = try await stream.receive(WirePacketAck.self) {
            let named = Set(ack.cursors.map(\.botID))
            owed = await settle(owed.filter { !named.contains($0.botID) } + ack.cursors)
            window.acknowledged(ack.cursors)
        }
        logger.debug("the hub ended the packet stream")
    }

    /// Has the journal forget what the hub has. Where it cannot (a full disk) that is no reason to end the session: it
    /// is tried again with the next acknowledgement, and the hub drops what it gets twice.
    ///
    /// - Returns: what is still to be forgotten.
    private func settle(_ cursors: [WirePacketCursor]) async -> [WirePacketCursor] {
        do {
            try await journal.acknowledge(cursors)
            return []
        } catch {
            logger.debug("acknowledged packets stay in the journal for now", metadata: ["reason": "\(error)"])
            return cursors
        }
    }
}

/// How far each bot's packets were sent and acknowledged in this session.
final class PacketWindow: Sendable {
    private struct State {
        var sent: [String: UInt64] = [:]
        var acknowledged: [String: UInt64] = [:]

        var unacknowledgedCount: Int {
            sent.reduce(0) { $0.clampedAdding(Int(clamping: $1.value.clampedSubtracting(acknowledged[$1.key] ?? 0))) }
        }
    }

    private let limit: Int
    private let state: Mutex<State>
    private let roomMade = Signal()

    /// - Parameters:
    ///   - limit: most packets under way at once.
    ///   - cursors: what the hub has already committed.
    init(limit: Int, committed cursors: [WirePacketCursor]) {
        let through = Dictionary(cursors.map { ($0.botID, $0.throughSequence) }, uniquingKeysWith: max)
        self.limit = limit
        state = Mutex(State(sent: through, acknowledged: through))
    }

    /// Per bot the last number sent.
    var sent: [String: UInt64] { state.withLock { $0.sent } }

    func sending(_ packets: [WireMonitorPacket]) {
        state.withLock { state in
            for packet in packets {
                if state.acknowledged[packet.botID] == nil {
                    state.acknowledged[packet.botID] = packet.sequence.clampedSubtracting(1)
                }
                state.sent[packet.botID] = packet.sequence
            }
        }
    }

    func acknowledged(_ cursors: [WirePacketCursor]) {
        state.withLock { state in
            for cursor in cursors {
                state.acknowledged[cursor.botID] = max(state.acknowledged[cursor.botID] ?? 0, cursor.throughSequence)
            }
        }
        roomMade.wake()
    }

    /// How many packets may be sent now, at least one; suspends while there is no room.
    func waitForRoom() async throws -> Int {
        while true {
            let ticket = roomMade.ticket
            let room = state.withLock { limit - $0.unacknowledgedCount }
            if room > 0 { return room }
            try await roomMade.wait(after: ticket)
        }
    }
}
