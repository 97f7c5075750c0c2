import Foundation
import Hummingbird

/// Messages, conversations and packets of a bot.
struct TalkRoutes {
    let services: HubServices

    private struct SendBody: APIDocument {
        let text: String
        let conversationId: String?

        static var memberDetails: [String: Schema] {
            [
                "text": .string(lengths: 1...CommandOperations.maximumTextBytes),
                "conversation_id": Schema.string(lengths: 1...200).described("A new conversation unless given."),
            ]
        }
    }

    private struct Sent: Codable, APIDocument {
        static let schemaName: String? = "SentMessage"

        let messageId: String
        let conversationId: String
        let commandId: String
    }

    private struct ConversationDocument: Codable, APIDocument {
        static let schemaName: String? = "Conversation"

        let conversationId: String
        let botId: String
        let createdAt: Date
        let lastMessageAt: Date
        let messageCount: Int
        let lastText: String?

        init(_ conversation: Conversation) {
            conversationId = conversation.id.rawValue
            botId = conversation.botID.rawValue
            createdAt = conversation.createdAt
            lastMessageAt = conversation.updatedAt
            messageCount = conversation.messageCount
            lastText = conversation.lastText
        }
    }

    private struct ConversationPage: Codable, APIDocument {
        let conversationId: String
        let botId: String
        let items: [ConversationEntry]
        /// Leads to older entries.
        let nextCursor: String?
    }

    /// Packets looked at for one page of a conversation: ten a message, which few turns reach.
    private static let packetsPerMessage = 10

    var routes: [APIRoute] {
        [
            APIRoute(
                .post,
                "/api/bots/{id}/messages",
                .operator,
                .talk,
                "Say something to a bot. It is delivered once, or reported failed.",
                body: .json(SendBody.self),
                answers: [.accepted(Sent.self)],
                errors: [.queueFull]
            ) { request, context in
                let body = try await request.json(SendBody.self, limit: JSONCoding.largeBodyBytes)
                let sent = try await services.commands.send(
                    body.text,
                    to: try context.botID(),
                    in: body.conversationId.map { text in
                        try NamePolicy.requireVisible(text, field: "conversation_id")
                        return ConversationID(rawValue: text)
                    },
                    by: try context.actor()
                )
                return try JSONCoding.response(
                    Sent(
                        messageId: sent.message.rawValue,
                        conversationId: sent.conversation.rawValue,
                        commandId: sent.command.rawValue
                    ),
                    status: .accepted
                )
            },
            APIRoute(
                .get,
                "/api/bots/{id}/conversations",
                .viewer,
                .talk,
                "A bot's conversations, the one with the newest message first.",
                parameters: [.limit, .cursor],
                answers: [.json(Page<ConversationDocument>.self)],
                handler: conversations
            ),
            APIRoute(
                .get,
                "/api/bots/{id}/conversations/{conversation}",
                .viewer,
                .talk,
                "The newest part of a conversation, oldest entry first: what was said, and what the bot made of it.",
                details: "Progress and tool packets are folded into the answer they lead to, as `steps`.",
                parameters: [.limit, .position],
                answers: [.json(ConversationPage.self)],
                handler: conversation
            ),
            APIRoute(
                .get,
                "/api/bots/{id}/packets",
                .viewer,
                .talk,
                "The packets a bot has sent.",
                details: "`gap` packets tell what is missing and why.",
                parameters: PacketDocument.parameters,
                answers: [.json(Page<PacketDocument>.self)],
                handler: packets
            ),
        ]
    }

    @Sendable
    private func conversations(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let limit = try request.pageLimit()
        let cursor = try request.cursor(ConversationCursor.init)
        let rows = try await services.messages.conversations(try context.botID(), after: cursor, limit: limit + 1)
        return try JSONCoding.response(
            Page(rows, limit: limit, cursor: { ConversationCursor($0).text }, item: ConversationDocument.init)
        )
    }

    @Sendable
    private func conversation(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let bot = try context.botID()
        let conversation = ConversationID(rawValue: try context.part("conversation"))
        let limit = try request.pageLimit()
        let before = try request.positionCursor()
        let messages = try await services.messages.messages(bot, conversation, before: before, limit: limit + 1)
        let shown = Array(messages.suffix(limit))
        let packets = try await services.packets.ofConversations.packets(
            bot,
            conversation,
            of: shown,
            isFirst: messages.count <= limit,
            isLast: before == nil,
            limit: (limit + 1) * Self.packetsPerMessage
        )
        return try JSONCoding.response(
            ConversationPage(
                conversationId: conversation.rawValue,
                botId: bot.rawValue,
                items: ConversationEntry.fold(messages: shown, packets: packets),
                nextCursor: messages.count > limit ? shown.first.map { String($0.position) } : nil
            )
        )
    }

    @Sendable
    private func packets(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let limit = try request.pageLimit()
        let isNewestFirst = try request.word("order", of: PacketDocument.Order.self) == .desc
        let cursor = try request.positionCursor()
        var filter = MonitorPacketStore.Filter()
        filter.after = try request.number("after", in: Schema.counts) ?? (isNewestFirst ? 0 : cursor ?? 0)
        if let cursor, isNewestFirst { filter.before = cursor }
        if let cursor, !isNewestFirst { filter.after = max(filter.after, cursor) }
        filter.type = try request.text("type")
        filter.conversation = try request.text("conversation_id")
        filter.message = try request.text("message_id")
        filter.turn = try request.text("turn_id")
        filter.since = try request.time("since")
        filter.until = try request.time("until")
        let page = try await services.packets.store.page(
            try context.botID(),
            filter,
            isNewestFirst: isNewestFirst,
            limit: limit + 1
        )
        let found = Walk.Found(items: page.packets, end: page.isCut ? page.packets.last?.position : page.end)
        return try JSONCoding.response(
            Page(found, limit: limit, cursor: \.position, item: PacketDocument.init)
        )
    }
}

/// A packet as the API shows it.
struct PacketDocument: Codable, APIDocument {
    static let schemaName: String? = "Packet"

    enum Order: String, CaseIterable, Sendable { case asc, desc }

    let id: Int64
    let botId: String
    let journalId: String
    let nodeId: String?
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
    let json: WrittenJSON
    let gap: PacketGap?

    static var memberDetails: [String: Schema] {
        [
            "id": Schema().described("Counts over all bots; what `after` refers to."),
            "journal_id": Schema().described(
                "The agent's journal; `log` for a packet that never came as one and was found in the bot's log."
            ),
            "node_id": Schema().described("The node it came from; missing where the hub tells what it has removed."),
            "sequence": Schema().described(
                "The agent's number, from 1 for each bot and journal; in the journal `log` the place in the bot's log."
            ),
            "bot_at": Schema().described("By the bot's clock."),
            "received_at": Schema().described("By the node's clock."),
            "stored_at": Schema().described("By the hub's clock."),
            "conversation_id": Schema().described(
                "Missing, as are `message_id` and `turn_id`, where a node that had the bot before names what it was not given."
            ),
            "json": Schema().described(
                "The packet as the bot wrote it, digit for digit; half a surrogate pair is U+FFFD."
            ),
            "gap": Schema().described(
                "Where this is no packet of the bot: what is missing in front of it. A bot cannot make one."
            ),
        ]
    }

    static let parameters: [APIParameter] = [
        .query("after", .integer(Schema.counts), "Only packets with a higher `id`."),
        .query("type", .text, "Only of this type."),
        .query("conversation_id", .text, "Only of this conversation."),
        .query("message_id", .text, "Only those that belong to this message."),
        .query("turn_id", .text, "Only those of this turn."),
        .query("since", .time, "Only those stored at this time or later."),
        .query("until", .time, "Only those stored before this time."),
        .query("order", .words(of: Order.self), "`asc`, oldest first, unless given."), .limit, .position,
    ]

    init(_ packet: StoredPacket) {
        id = packet.position
        botId = packet.botID.rawValue
        journalId = packet.journalID
        nodeId = packet.nodeID.rawValue.isEmpty ? nil : packet.nodeID.rawValue
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
        json = packet.written
        gap = packet.gap
    }
}
