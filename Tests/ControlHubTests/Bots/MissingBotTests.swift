import Foundation
import SwiftProtobuf
import Testing
import WireFormat

@testable import ControlHub

@Suite("A bot that its node does not hold")
struct MissingBotTests {
    @Test("is told with what can have become of it: on a hub that was put back that is more than on another")
    func reasons() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let now = hub.now
        func reason() async throws -> String {
            try await hub.parts.database.write { db in
                var status = WireBotStatus()
                (status.botID, status.phase) = (bot.rawValue, .ready)
                _ = try BotStore.apply(db, status, from: node, at: now)
                return try BotStore.missing(db, on: node, among: [], at: now).first?.reason ?? ""
            }
        }
        let usual = try await reason()
        #expect(usual.contains("state directory was replaced") && !usual.contains("database"), "\(usual)")
        try await hub.parts.database.write { db in try HubLineage.markCopy(db, at: now) }
        _ = try await HubLineage(database: hub.parts.database, directory: hub.directory).begin(at: now)
        let restored = try await reason()
        #expect(restored.contains("database was put back") && restored.contains("moved elsewhere"), "\(restored)")
        #expect(restored.contains("state directory was replaced") && restored.contains("strays"), "\(restored)")
    }
}
