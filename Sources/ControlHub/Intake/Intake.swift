import Foundation
import Logging
import WireFormat

/// Watches over what nodes and bots send: how much, and what was refused of it.
struct Intake: Sendable {
    let shares: IntakeShares
    let marks: IntakeMarks
    let events: EventFeed
    let clock: HubClock
    let logger: Logger

    init(_ quotas: IntakeQuotas, marks: IntakeMarks, events: EventFeed, clock: HubClock, logger: Logger) {
        shares = IntakeShares(quotas)
        (self.marks, self.events, self.clock, self.logger) = (marks, events, clock, logger)
    }

    // MARK: Quotas

    /// Charges a message of a node's session. While the node has to pause this does not return, so its session is read no
    /// further, and the link's own windows hold the node back. Throws `CancellationError`.
    ///
    /// - Parameter isOpen: whether the session still is; a pause does not outlast it by much.
    func charge(message node: NodeID, states: Int = 0, while isOpen: () -> Bool = { true }) async throws {
        let now = clock.now()
        let pause = shares.message(of: node, states: states, now: now)
        guard pause > .zero, Defence.senderQuotas.isUp else { return }
        note(
            .messagesSlowed,
            of: node,
            "It sends more messages, or states of bots, than its quota; they are taken later. An agent does so only where it is "
                + "broken or somebody else's."
        )
        try await sleep(until: now + pause, while: isOpen)
    }

    /// Whether figures are to be looked at; others are told as dropped.
    func takesFigures(of node: NodeID) -> Bool {
        guard !shares.takesFigures(of: node, now: clock.now()), Defence.senderQuotas.isUp else { return true }
        note(
            .figuresDropped,
            of: node,
            "It sends its figures more often than anybody reads them; some were not looked at."
        )
        return false
    }

    /// Charges packets that were taken.
    ///
    /// - Returns: what is owed for them; the node is to be told, and then `pay` waited for.
    func charge(packets: MonitorPacketStore.Ingested, of node: NodeID) -> PacketDebt {
        let debt = shares.packets(of: node, packets.load, bots: packets.loads, now: clock.now())
        guard Defence.senderQuotas.isUp else { return PacketDebt() }
        if debt.ofNode > .zero, debt.ofBots.isEmpty {
            note(.packetsSlowed, of: node, "Its bots together write more packets than its quota; they are taken later.")
        }
        for bot in debt.ofBots.keys {
            note(
                .packetsSlowed,
                of: node,
                bot: bot,
                "It writes more packets than its quota; they wait on the node and are taken later."
            )
        }
        return debt
    }

    /// Returns when packets of the node may be taken again. As `charge(message:)`.
    func pay(_ debt: PacketDebt, while isOpen: () -> Bool = { true }) async throws {
        guard debt.pause > .zero else { return }
        try await sleep(until: clock.now() + debt.pause, while: isOpen)
    }

    /// Charges lines of a log that were kept. As `charge(message:)`.
    func charge(log chunk: WireLogChunk, of node: NodeID) async throws {
        let bytes = chunk.lines.reduce(0) { $0 + $1.text.count + Self.lineBytes }
        let now = clock.now()
        let pause = shares.log(of: node, bytes: bytes, now: now)
        guard pause > .zero, Defence.senderQuotas.isUp else { return }
        note(
            .logsSlowed,
            of: node,
            "Its bots write more into their logs than its quota; the hub's copy of them falls behind."
        )
        try await sleep(until: now + pause, while: { true })
    }

    private func sleep(until end: ContinuousClock.Instant, while isOpen: () -> Bool) async throws {
        while isOpen() {
            let now = clock.now()
            guard now < end else { return }
            try await clock.sleep(min(end, now + Self.longestLook))
        }
    }

    /// How soon it is noticed that there is nobody to wait for.
    private static let longestLook = Duration.seconds(1)

    /// What a line takes besides its text, roughly.
    private static let lineBytes = 32

    // MARK: Marks

    /// Tells what was left out of a node's messages.
    func note(_ excess: WireExcess, of node: NodeID) {
        let fields = excess.counts.sorted { $0.value > $1.value }
        let named = fields.prefix(4).map(\.key).joined(separator: ", ")
        note(
            .fieldsCut,
            of: node,
            count: excess.total,
            "What it sent was longer than it may be and was cut (messages and fields by number: \(named)\(fields.count > 4 ? ", …" : ""))."
        )
    }

    /// Tells of packets that were acknowledged and not kept.
    func noteRefused(_ refused: [MonitorPacketStore.Refusal], of node: NodeID) {
        for refusal in refused {
            note(
                .packetsRefused,
                of: node,
                count: refusal.count,
                refusal.isKnownElsewhere
                    ? "Packets of bot \(refusal.bot), which was never placed on this node. They were not kept."
                    : "Packets of bot \(refusal.bot), which this hub does not know. They were not kept. Remove the bot on the "
                        + "node, or restore the hub's database with it."
            )
        }
    }

    /// - Parameter bot: the bot, where it is that bot's doing.
    private func note(
        _ kind: IntakeMarks.Kind,
        of node: NodeID,
        bot: BotID? = nil,
        count: UInt64 = 1,
        _ detail: String
    ) {
        let date = clock.date()
        guard marks.note(kind, of: bot.map { .bot($0) } ?? .node(node), count: count, detail: detail, at: date) else {
            return
        }
        logger.warning(
            "a sender was held back",
            metadata: [
                "node_id": "\(node)", "bot_id": "\(bot?.rawValue ?? "")", "kind": "\(kind.rawValue)",
                "reason": "\(detail)",
            ]
        )
        var members: [String: JSONValue] = [
            "change": .string("intake"), "node_id": .string(node.rawValue), "code": .string(kind.rawValue),
            "reason": .string(detail),
        ]
        if let bot { members["bot_id"] = .string(bot.rawValue) }
        events.publish(bot == nil ? "node.updated" : "bot.updated", at: date, .object(members))
    }
}
