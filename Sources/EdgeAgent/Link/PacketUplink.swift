import Logging
import SwiftProtobuf
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
    let clock: SessionClock
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
            let held = window.held(now: clock.now.instant)
            let found = try await journal.unacknowledged(after: window.sent, but: held.bots, maxBytes: Self.batchBytes)
            if found.isEmpty {
                try await journal.newPackets.wait(after: ticket, until: held.until, clock)
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
            // First, or there would be room for packets that are to wait.
            window.hold(ack.holds, now: clock.now.instant)
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

extension Signal {
    /// As `wait(after:)`, but no longer than until `deadline` where there is one.
    fileprivate func wait(after ticket: UInt64, until deadline: ContinuousClock.Instant?, _ clock: SessionClock)
        async throws
    {
        guard let deadline else { return try await wait(after: ticket) }
        try await withThrowingTaskGroup { group in
            group.addTask { try await self.wait(after: ticket) }
            group.addTask { try await clock.sleep(until: deadline) }
            try await group.next()
            group.cancelAll()
        }
    }
}
