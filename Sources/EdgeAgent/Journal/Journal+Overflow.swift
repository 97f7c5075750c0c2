import SwiftProtobuf
import WireFormat

/// What happens when the hub takes no packets for so long that the journal is full or the packets are too old: the
/// oldest go, and one gap says exactly which.
///
/// A gap takes the number of the last packet it stands for. Where the hub already has some of them (their
/// acknowledgement was on its way), it knows better and shortens the gap by what it has.
extension Journal {
    /// Drops the oldest packets of the bot that has most, until all fit and a sixteenth of the budget is free, so that
    /// this is not done anew with each packet. Within a transaction.
    func makeRoom() throws {
        while storedBytes > budget.bytes {
            guard let largest = backlogs.max(by: { $0.value.bytes < $1.value.bytes })?.key else { return }
            let before = storedBytes
            let wanted = before - budget.bytes + max(budget.bytes / 16, Self.gapBytes)
            var freed = 0
            try drop(largest, reason: "journal_full") { row in
                defer { freed += row.bytes }
                return freed < wanted
            }
            // Nothing but gaps is left.
            guard storedBytes < before else { return }
        }
    }

    /// What a gap takes itself, at most.
    private static let gapBytes = 512

    /// Drops packets that are older than the budget allows.
    ///
    /// - Returns: whether there were any.
    @discardableResult
    func expire() throws -> Bool {
        let current = now
        guard current > budget.milliseconds else { return false }
        let limit = current - budget.milliseconds
        return try guarded {
            let before = backlogs
            do {
                return try database.transaction {
                    var hasDropped = false
                    for bot in backlogs.keys.sorted() {
                        if try drop(bot, reason: "journal_age", while: { $0.storedAt < limit }) { hasDropped = true }
                    }
                    return hasDropped
                }
            } catch {
                backlogs = before
                throw error
            }
        }
    }

    /// A packet that may have to go.
    struct Candidate {
        var bytes: Int
        /// By the journal's clock.
        var storedAt: UInt64
    }

    /// Puts one gap in place of a bot's oldest packets. Within a transaction.
    ///
    /// - Parameter isDropped: whether this packet, the oldest left, goes as well.
    /// - Returns: whether any packet went.
    @discardableResult
    private func drop(_ botID: String, reason: String, while isDropped: (Candidate) -> Bool) throws -> Bool {
        var gap = WirePacketGap()
        gap.reason = reason
        var launchID = ""
        var logOffset: UInt64 = 0
        var storedAt: UInt64 = 0
        var fresh = 0
        try database.query(
            """
            SELECT sequence, launch_id, \(Self.sizeSQL), gap, received_at_ms, stored_at_ms, log_offset FROM packets
            WHERE bot_id=? ORDER BY sequence
            """,
            [.text(botID)]
        ) { row in
            guard isDropped(Candidate(bytes: Int(clamping: row.integer(2)), storedAt: row.number(5))) else {
                return false
            }
            let earlier = Self.gap(row.blob(3))
            Self.add(row.number(0), earlier, row.number(4), to: &gap)
            if earlier?.fromSequence ?? 0 == 0 { fresh += 1 }
            launchID = row.text(1)
            storedAt = row.number(5)
            logOffset = max(logOffset, row.number(6))
            return true
        }
        // A gap alone, which is what an earlier call has left, says all there is to say.
        guard fresh > 0 else { return false }
        try delete(botID, through: gap.toSequence)
        let text =
            #"{"v":1,"type":"gap","reason":"\#(reason)","from_sequence":\#(gap.fromSequence),"#
            + #""to_sequence":\#(gap.toSequence),"missing_packets":\#(gap.missingPackets)}"#
        let packet = NewPacket(
            launchID: launchID,
            botSequence: 0,
            type: "gap",
            conversationID: "",
            messageID: "",
            turnID: "",
            botTimeUnixMilliseconds: 0,
            receivedAtUnixMilliseconds: gap.toUnixMs,
            json: Array(text.utf8),
            gap: gap,
            logOffset: logOffset
        )
        try insert(packet, bot: botID, sequence: gap.toSequence, storedAt: storedAt)
        backlogs[botID, default: Backlog()].count += 1
        backlogs[botID, default: Backlog()].bytes += packet.json.count + Self.overheadBytes
        return true
    }

    /// Counts one packet or gap among what a gap stands for.
    private static func add(
        _ sequence: UInt64,
        _ earlier: WirePacketGap?,
        _ receivedAt: UInt64,
        to gap: inout WirePacketGap
    ) {
        if let earlier, earlier.fromSequence > 0 {
            // Of the agent's own numbers: the two become one.
            if gap.fromSequence == 0 {
                gap.fromSequence = earlier.fromSequence
                gap.fromUnixMs = earlier.fromUnixMs
            }
            gap.missingPackets = gap.missingPackets.clampedAdding(earlier.missingPackets)
            gap.missingGaps = gap.missingGaps.clampedAdding(earlier.missingGaps)
            gap.toUnixMs = max(gap.toUnixMs, earlier.toUnixMs)
        } else {
            if gap.fromSequence == 0 {
                gap.fromSequence = sequence
                gap.fromUnixMs = receivedAt
            }
            if earlier == nil {
                gap.missingPackets = gap.missingPackets.clampedAdding(1)
            } else {
                gap.missingGaps = gap.missingGaps.clampedAdding(1)
            }
            gap.toUnixMs = max(gap.toUnixMs, receivedAt)
        }
        gap.toSequence = sequence
    }
}
