import Foundation
import GRDB
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

extension TestHub {
    /// Retention that does not wait between its turns, unless `isResting`.
    func retention(
        _ settings: RetentionSettings = RetentionSettings(),
        archive: LogArchive? = nil,
        isResting: Bool = false
    ) -> RetentionOperations {
        let clock = parts.clock
        return RetentionOperations(
            database: parts.database,
            settings: settings,
            snapshots: services.deployments.context.snapshots,
            archive: archive,
            events: parts.events,
            clock: HubClock(
                now: clock.now,
                date: clock.date,
                sleep: { _ in
                    guard isResting else { return await Task.yield() }
                    try await HubClock.system.sleep(ContinuousClock.now + RetentionOperations.pause)
                },
                horizon: clock.horizon
            ),
            logger: parts.logger
        )
    }

    /// Packets that a bot's node sends, numbered from `first`.
    @discardableResult
    func send(
        _ numbers: ClosedRange<Int>,
        of bot: BotID,
        on node: NodeID,
        journal: String = "j",
        conversation: String = "",
        text: String = "x"
    ) async throws -> [WirePacketCursor] {
        let packets = numbers.map { number in
            WireMonitorPacket.with {
                $0.botID = bot.rawValue
                $0.sequence = UInt64(number)
                $0.type = "tick"
                $0.conversationID = conversation
                $0.json = Data(#"{"text":"\#(text)"}"#.utf8)
            }
        }
        return try await parts.packets.ingest(packets, journal: journal, from: node)
    }

    func count(_ sql: String, _ arguments: StatementArguments = StatementArguments()) async throws -> Int {
        try await parts.database.read { db in try Int.fetchOne(db, sql: sql, arguments: arguments) ?? -1 }
    }

    /// Numbers of a bot's packets that are kept.
    func sequences(of bot: BotID) async throws -> [Int64] {
        try await parts.database.read { db in
            try Int64.fetchAll(
                db,
                sql: "SELECT sequence FROM packets WHERE bot_id = ? ORDER BY position",
                arguments: [bot.rawValue]
            )
        }
    }
}

extension RetentionSettings {
    /// The standard ones with some of one kind changed.
    static func with(_ kind: RetentionKind, _ change: (inout RetentionLimits) -> Void) -> RetentionSettings {
        var settings = RetentionSettings()
        change(&settings[kind])
        return settings
    }
}
