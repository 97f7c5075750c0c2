import Foundation
import HTTPTypes
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("A long conversation")
struct LongConversationTests {
    private static let messages = 60
    private static let steps = 5

    @Test("has its answers on every page, the late ones too")
    func pages() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.operator)
        let (node, bot) = try await hub.botOnNode()
        let conversation = ConversationID(rawValue: "talk")
        var sent: [MessageID] = []
        var sequence: UInt64 = 0
        for number in 0..<Self.messages {
            hub.clock.advance(by: .seconds(1))
            sent.append(try await hub.parts.commands.send("\(number)", to: bot, in: conversation, by: .hub).message)
            // Each is answered after the next was sent.
            guard number > 0 else { continue }
            try await answer(hub, node, bot, sent[number - 1], &sequence)
        }
        try await answer(hub, node, bot, sent[Self.messages - 1], &sequence)
        try await hub.api { [sent] api in
            var (cursor, found): (String?, [String]) = (nil, [])
            repeat {
                let before = cursor.map { "&cursor=\($0)" } ?? ""
                let page = try await api.send(
                    .get,
                    "/api/bots/\(bot)/conversations/\(conversation)?limit=10\(before)",
                    token: token
                )
                let answers = page.items.filter { $0["role"] == .string("assistant") }
                #expect(page.items.count == 20 && answers.count == 10, "\(page.items.count) before \(before)")
                for entry in answers {
                    guard case .array(let steps)? = entry["steps"] else { continue }
                    #expect(steps.count == Self.steps)
                }
                found = answers.compactMap { $0["message_id"]?.stringValue } + found
                cursor = page["next_cursor"]?.stringValue
            } while cursor != nil
            #expect(found == sent.map(\.rawValue))
        }
    }

    private func answer(
        _ hub: TestHub,
        _ node: NodeID,
        _ bot: BotID,
        _ message: MessageID,
        _ sequence: inout UInt64
    ) async throws {
        let types = Array(repeating: "progress", count: Self.steps) + ["assistant_message"]
        let packets = types.map { type in
            sequence += 1
            return WireMonitorPacket.with {
                ($0.botID, $0.sequence, $0.type) = (bot.rawValue, sequence, type)
                ($0.messageID, $0.turnID, $0.conversationID) = (message.rawValue, "turn \(message)", "talk")
                $0.json = Data(#"{"text":"x"}"#.utf8)
            }
        }
        _ = try await hub.parts.packets.ingest(packets, journal: "j", from: node)
    }
}
