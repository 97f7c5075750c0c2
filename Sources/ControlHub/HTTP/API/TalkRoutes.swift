import Foundation
import Hummingbird

/// Messages, conversations and packets of a bot.
struct TalkRoutes {
    let services: HubServices

    private struct SendBody: Decodable {
        let text: String
        let conversationId: String?
    }

    private struct Sent: Encodable {
        let messageId: String
        let conversationId: String
        let commandId: String
    }

    private struct ConversationDocument: Encodable {
        let conversationId: String
        let botId: String
        let createdAt: Date
        let lastMessageAt: Date
        let messageCount: Int
        let lastText: String?
    }

    private struct PacketDocument: Encodable {
        let id: Int64
        let botId: String
        let journalId: String
        let sequence: Int64
        let launchId: String
        let botSequence: Int64
        let type: String
        let conversationId: String?
        let messageId: String?
        let turnId: String?
        let botAt: Date?
        let receivedAt: Date
        let storedAt: Date
        let json: JSONValue

        init(_ packet: StoredPacket) {
            id = packet.position
            botId = packet.botID.rawValue
            journalId = packet.journalID
            sequence = packet.sequence
            launchId = packet.launchID
            botSequence = packet.botSequence
            type = packet.type
            conversationId = packet.conversationID
            messageId = packet.messageID
            turnId = packet.turnID
            botAt = packet.botTime.unixMilliseconds > 0 ? packet.botTime : nil
            receivedAt = packet.receivedAt
            storedAt = packet.storedAt
            json = packet.json
        }
    }

    /// Packets looked at for one page of a conversation: ten a message, which few turns reach.
    private static let packetsPerMessage = 10

    func add(to routes: RoleGroups) {
        routes.operator.post("bots/:id/messages") { request, context in
            let body = try JSONCoding.decode(
                SendBody.self,
                from: try await JSONCoding.body(request, limit: JSONCoding.largeBodyBytes)
            )
            let sent = try await services.commands.send(
                body.text,
                to: try context.botID(),
                in: body.conversationId.map(ConversationID.init(rawValue:)),
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(
                Sent(
                    messageId: sent.message.rawValue,
                    conversationId: sent.conversation.rawValue,
                    commandId: sent.command.rawValue
                ),
                status: .accepted
            )
        }
        routes.viewer.get("bots/:id/conversations") { request, context in
            let limit = try request.pageLimit()
            let offset = Int(try request.number("cursor", in: 0...1_000_000) ?? 0)
            let rows = try await services.messages.conversations(try context.botID(), offset: offset, limit: limit + 1)
            return try JSONCoding.response(
                Page(rows, limit: limit, cursor: { _ in String(offset + limit) }) {
                    ConversationDocument(
                        conversationId: $0.id.rawValue,
                        botId: $0.botID.rawValue,
                        createdAt: $0.createdAt,
                        lastMessageAt: $0.updatedAt,
                        messageCount: $0.messageCount,
                        lastText: $0.lastText
                    )
                }
            )
        }
        routes.viewer.get("bots/:id/conversations/:conversation") { request, context in
            let bot = try context.botID()
            let conversation = ConversationID(rawValue: try context.parameters.require("conversation"))
            let limit = try request.pageLimit()
            let before = try request.positionCursor()
            let messages = try await services.messages.messages(bot, conversation, before: before, limit: limit + 1)
            let shown = Array(messages.suffix(limit))
            // Only the newest page may hold packets that belong to no message yet.
            let packets = try await services.packets.store.list(
                bot,
                conversation: conversation,
                limit: (limit + 1) * Self.packetsPerMessage
            )
            let relevant =
                before == nil
                ? packets
                : packets.filter { packet in
                    shown.contains { $0.id.rawValue == packet.messageID }
                }
            return try JSONCoding.response(
                ConversationPage(
                    conversationId: conversation.rawValue,
                    botId: bot.rawValue,
                    items: ConversationEntry.fold(messages: shown, packets: relevant),
                    nextCursor: messages.count > limit ? shown.first.map { String($0.position) } : nil
                )
            )
        }
        routes.viewer.get("bots/:id/packets") { request, context in
            let limit = try request.pageLimit()
            let isNewestFirst = request.query("order") == "desc"
            let rows = try await services.packets.store.list(
                try context.botID(),
                after: try request.number("after", in: 0...Int64.max) ?? request.positionCursor() ?? 0,
                type: request.query("type"),
                isNewestFirst: isNewestFirst,
                limit: limit + 1
            )
            return try JSONCoding.response(
                Page(rows, limit: limit, cursor: { String($0.position) }, item: PacketDocument.init)
            )
        }
    }

    private struct ConversationPage: Encodable {
        let conversationId: String
        let botId: String
        let items: [ConversationEntry]
        /// Leads to older entries.
        let nextCursor: String?
    }
}
